//! Numbers that are said of one dag in place of what the server's settings say: its limits, its retention.

use serde::{Serialize, de::DeserializeOwned};

/// One of `T`'s numbers.
pub struct Field<T: 'static> {
    /// In the API, in the database, on forms; with `-` for `_` as a flag.
    pub name: &'static str,
    /// What may be said, at most.
    pub most: u32,
    pub place: fn(&mut T) -> &mut Option<u32>,
}

/// What is said of one dag. Each number is None where the server's settings say it, and 0 where there is no bound.
pub trait DagNumbers: Copy + Default + Eq + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// What 0 means, in words.
    const UNBOUNDED: &'static str;
    /// All of them. Statements of the database take them in this order.
    const FIELDS: &'static [Field<Self>];

    fn get(mut self, field: &Field<Self>) -> Option<u32> {
        *(field.place)(&mut self)
    }

    /// With what `number` answers for each.
    ///
    /// # Errors
    /// The first that it answers.
    fn try_build<E>(mut number: impl FnMut(&Field<Self>) -> Result<Option<u32>, E>) -> Result<Self, E> {
        let mut numbers = Self::default();
        for field in Self::FIELDS {
            *(field.place)(&mut numbers) = number(field)?;
        }
        Ok(numbers)
    }

    /// # Errors
    /// If a number is too large.
    fn check(self) -> Result<(), NumberError> {
        for field in Self::FIELDS {
            if let Some(value) = self.get(field).filter(|value| *value > field.most) {
                let Field { name, most, .. } = *field;
                return Err(NumberError { field: name, unbounded: Self::UNBOUNDED, most, value });
            }
        }
        Ok(())
    }

    /// Whether it says nothing.
    fn is_empty(self) -> bool {
        self == Self::default()
    }
}

/// Why a number can't be said of a dag.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` can be 0 ({unbounded}) to {most}, or null for what the server's settings say, not {value}")]
pub struct NumberError {
    pub field: &'static str,
    unbounded: &'static str,
    most: u32,
    value: u32,
}
