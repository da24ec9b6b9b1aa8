//! Flags for what is said of a dag in place of what the server's settings say.

use serde_json::{Value, json};

use super::{client::Client, error::Result};

/// None: what the server's settings say; 0: no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Number(Option<u32>);

/// Reads a flag: a number from 1, `unbounded` or `default`.
pub fn number(unbounded: &'static str) -> impl Fn(&str) -> Result<Number, String> + Clone + Send + Sync + 'static {
    move |text| match text {
        "default" => Ok(Number(None)),
        text if text == unbounded => Ok(Number(Some(0))),
        text => text
            .parse()
            .ok()
            .filter(|number| *number > 0)
            .map(|number| Number(Some(number)))
            .ok_or_else(|| format!("it must be a number from 1, `{unbounded}` or `default`")),
    }
}

/// Says at `path` what `said` has of the fields there. What it has not stays as it is. Answers what the server does.
pub async fn put<const N: usize>(client: &Client, path: &[&str], said: [(&str, Option<Number>); N]) -> Result<Value> {
    let mut own = client.get(path, &[]).await?["own"].take();
    for (field, number) in said {
        if let Some(Number(number)) = number {
            own[field] = json!(number);
        }
    }
    client.put(path, &own).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_words_too() {
        for unbounded in ["any", "for-ever"] {
            let number = number(unbounded);
            assert_eq!(number("default"), Ok(Number(None)));
            assert_eq!(number(unbounded), Ok(Number(Some(0))));
            assert_eq!(number("30"), Ok(Number(Some(30))));
            assert!(number("0").is_err() && number("-1").is_err() && number("much").is_err());
        }
    }
}
