//! Where a row stands in a list's order. A list that goes on from there does not read what comes before, as an offset would.

use serde::{Deserialize, Serialize};

use super::{db::Builder, filter::Order};
use crate::model::time::Timestamp;

/// What a row has in the columns that its list is ordered by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place(Vec<Option<Value>>);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Value {
    Number(i64),
    Text(String),
}

/// A list that goes on from a row's place.
pub trait Walk {
    type Row;

    /// Where a row stands in it.
    fn place(&self, row: &Self::Row) -> Place;

    /// Whether it has such places.
    fn has_place(&self, place: &Place) -> bool;

    /// Begins after `place`, in this order.
    fn go_on(&mut self, place: Place, order: Order);

    /// What it is ordered in.
    fn order(&self) -> Order;
}

/// A column that a list is ordered by. The last ones of a list tell all of its rows apart.
#[derive(Debug, Clone, Copy)]
pub(super) enum Column {
    Number(&'static str),
    /// NULL comes before all else.
    NullableNumber(&'static str),
    Text(&'static str),
    /// NULL comes before all else.
    NullableText(&'static str),
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<Timestamp> for Value {
    fn from(at: Timestamp) -> Self {
        Self::Number(at.as_micros())
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl Column {
    fn name(self) -> &'static str {
        match self {
            Self::Number(name) | Self::NullableNumber(name) | Self::Text(name) | Self::NullableText(name) => name,
        }
    }

    fn is_nullable(self) -> bool {
        matches!(self, Self::NullableNumber(_) | Self::NullableText(_))
    }

    fn is_text(self) -> bool {
        matches!(self, Self::Text(_) | Self::NullableText(_))
    }

    fn may_hold(self, value: Option<&Value>) -> bool {
        match value {
            None => self.is_nullable(),
            Some(Value::Number(_)) => !self.is_text(),
            // PostgreSQL takes no NUL.
            Some(Value::Text(text)) => self.is_text() && !text.contains('\0'),
        }
    }
}

impl Place {
    pub(super) fn new(values: impl IntoIterator<Item = Option<Value>>) -> Self {
        Self(values.into_iter().collect())
    }

    /// What stands first in it, if that is a number.
    pub(super) fn first_number(&self) -> Option<i64> {
        match self.0.first() {
            Some(Some(Value::Number(number))) => Some(*number),
            _ => None,
        }
    }

    /// Whether a list of these columns has such places.
    pub(super) fn fits(&self, columns: &[Column]) -> bool {
        self.0.len() == columns.len()
            && self.0.iter().zip(columns).all(|(value, column)| column.may_hold(value.as_ref()))
    }
}

/// How long something took that has ended; microseconds.
pub(super) fn lasted(start: Option<Timestamp>, end: Option<Timestamp>) -> Option<Value> {
    start.zip(end).map(|(start, end)| Value::Number(end.as_micros() - start.as_micros()))
}

/// In the order of these columns, the rows after `place`, if there is one, which [fits](Place::fits) them.
pub(super) fn push_walk(builder: &mut Builder, columns: &[Column], order: Order, place: Option<&Place>) {
    if let Some(place) = place {
        push_after(builder, columns, order, place);
    }
    for (position, column) in columns.iter().enumerate() {
        builder.push(if position == 0 { " ORDER BY " } else { ", " }).push(column.name());
        builder.push(if column.is_nullable() { order.sql_nullable() } else { order.sql() });
    }
}

/// The rows that come before `place`, and its own, in the order of these columns, none of which is ever NULL.
pub(super) fn push_until(builder: &mut Builder, columns: &[Column], order: Order, place: &Place) {
    let names: Vec<_> = columns.iter().map(|column| column.name()).collect();
    builder.push(" AND (").push(names.join(", ")).push(")");
    builder.push(match order {
        Order::Ascending => " <= (",
        Order::Descending => " >= (",
    });
    for (position, value) in place.0.iter().enumerate() {
        builder.push(if position == 0 { "" } else { ", " });
        push_value(builder, value.as_ref());
    }
    builder.push(")");
}

fn push_after(builder: &mut Builder, columns: &[Column], order: Order, place: &Place) {
    let beyond = match order {
        Order::Ascending => " > ",
        Order::Descending => " < ",
    };
    let cells = || columns.iter().zip(&place.0);
    let bound = |builder: &mut Builder| {
        if let Some((column, Some(value))) = cells().next()
            && !(column.is_nullable() && order == Order::Descending)
        {
            builder.push(" AND ").push(column.name()).push(beyond.trim_end()).push("= ");
            push_value(builder, Some(value));
        }
    };
    let table = |column: &Column| column.name().split('.').next();
    if !columns.iter().any(|column| column.is_nullable()) {
        // This an index finds at once, if it is of one table.
        if columns.iter().any(|column| table(column) != columns.first().and_then(table)) {
            bound(builder);
        }
        let names: Vec<_> = columns.iter().map(|column| column.name()).collect();
        builder.push(" AND (").push(names.join(", ")).push(")").push(beyond).push("(");
        for (position, (_, value)) in cells().enumerate() {
            builder.push(if position == 0 { "" } else { ", " });
            push_value(builder, value.as_ref());
        }
        builder.push(")");
        return;
    }
    bound(builder);
    // Beyond in the first column, or the same in it and beyond in the second, and so on.
    for (position, (column, value)) in cells().enumerate() {
        builder.push(if position == 0 { " AND (" } else { " OR " });
        for (column, value) in cells().take(position) {
            builder.push(column.name());
            match value {
                None => drop(builder.push(" IS NULL AND ")),
                Some(value) => {
                    builder.push(" = ");
                    push_value(builder, Some(value));
                    builder.push(" AND ");
                }
            }
        }
        match (value, order) {
            (None, Order::Ascending) => drop(builder.push(column.name()).push(" IS NOT NULL")),
            (None, Order::Descending) => drop(builder.push("FALSE")),
            (Some(value), _) => {
                let comes_last = column.is_nullable() && order == Order::Descending;
                builder.push("(").push(column.name()).push(beyond);
                push_value(builder, Some(value));
                if comes_last {
                    builder.push(" OR ").push(column.name()).push(" IS NULL");
                }
                builder.push(")");
            }
        }
    }
    builder.push(")");
}

fn push_value(builder: &mut Builder, value: Option<&Value>) {
    match value {
        None => drop(builder.push("NULL")),
        Some(Value::Number(number)) => drop(builder.push_bind(*number)),
        Some(Value::Text(text)) => drop(builder.push_bind(text.as_str())),
    }
}
