//! Queues: which attempts a worker takes. Airflow: the `queue` of an operator, `airflow celery worker --queues`.

use std::{collections::BTreeSet, fmt, str::FromStr};

use super::ids::QueueName;

/// Most names that a worker may serve.
const MAX_QUEUES: usize = 100;

/// The queues that a runner serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Queues {
    All,
    Named(BTreeSet<QueueName>),
}

impl Queues {
    pub fn serve(&self, queue: &QueueName) -> bool {
        match self {
            Self::All => true,
            Self::Named(names) => names.contains(queue),
        }
    }
}

impl Default for Queues {
    /// That of tasks that name none.
    fn default() -> Self {
        Self::Named([QueueName::default()].into())
    }
}

impl fmt::Display for Queues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::Named(names) => f.write_str(&names.iter().map(QueueName::as_str).collect::<Vec<_>>().join(",")),
        }
    }
}

impl FromStr for Queues {
    type Err = String;

    /// Names with commas between, or `*` for all.
    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim() == "*" {
            return Ok(Self::All);
        }
        let names = text.split(',').map(|name| QueueName::new(name.trim()).map_err(|error| error.to_string()));
        let names: BTreeSet<_> = names.collect::<Result<_, _>>()?;
        if names.len() > MAX_QUEUES {
            return Err(format!("{} queues are named, and at most {MAX_QUEUES} may be", names.len()));
        }
        Ok(Self::Named(names))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_are_read_as_they_are_told() {
        for (text, told) in [("*", "*"), (" * ", "*"), ("default", "default"), ("gpu, default,gpu", "default,gpu")] {
            assert_eq!(text.parse::<Queues>().unwrap().to_string(), told, "{text}");
        }
        for text in ["", "a,,b", "a b", "<script>", "*,gpu"] {
            text.parse::<Queues>().unwrap_err();
        }
        let many = (0..=MAX_QUEUES).map(|at| format!("q{at}")).collect::<Vec<_>>().join(",");
        assert!(many.parse::<Queues>().unwrap_err().contains("101 queues"));
    }

    #[test]
    fn a_queue_is_served_by_its_name_or_with_all() {
        let gpu = QueueName::new("gpu").unwrap();
        assert!(Queues::All.serve(&gpu));
        assert!(!Queues::default().serve(&gpu));
        assert!(Queues::default().serve(&QueueName::default()));
        assert!("default,gpu".parse::<Queues>().unwrap().serve(&gpu));
    }
}
