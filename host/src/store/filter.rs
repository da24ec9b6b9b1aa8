//! What lists have in common: pages, ranges, orders, bounded totals.

use regex::RegexSetBuilder;
use serde::Serialize;

use super::{
    Store, StoreError,
    db::{Builder, FromRow},
};
use crate::model::{dag_access::DagSet, days::Day, time::Timestamp};

/// Rows of a page at most.
pub const MAX_PAGE: u32 = 1_000;
/// Totals above 10,000 are told as this.
pub const MAX_TOTAL: i64 = 10_001;

/// What a name is compared with in memory, made to a machine; bytes.
const MAX_MATCHER_BYTES: usize = 512 << 10;

/// A part of a list.
#[derive(Debug, Clone)]
pub struct Listed<T> {
    pub items: Vec<T>,
    /// How many the whole list has; exact up to 10,000, above it [`MAX_TOTAL`].
    pub total: i64,
}

/// Which part of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// At most [`MAX_PAGE`]; more is cut.
    pub limit: u32,
    pub offset: u32,
}

impl Page {
    /// The first `limit` rows.
    pub fn first(limit: u32) -> Self {
        Self { limit, offset: 0 }
    }
}

impl Default for Page {
    fn default() -> Self {
        Self::first(100)
    }
}

/// A list's order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Order {
    #[default]
    Ascending,
    Descending,
}

impl Order {
    #[must_use]
    pub fn reversed(self) -> Self {
        match self {
            Self::Ascending => Self::Descending,
            Self::Descending => Self::Ascending,
        }
    }

    pub(super) fn sql(self) -> &'static str {
        match self {
            Self::Ascending => " ASC",
            Self::Descending => " DESC",
        }
    }

    /// Of a column that may be NULL, which comes before all else.
    pub(super) fn sql_nullable(self) -> &'static str {
        match self {
            Self::Ascending => " ASC NULLS FIRST",
            Self::Descending => " DESC NULLS LAST",
        }
    }
}

/// Instants from `gte` to `lte`, both in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Range {
    pub gte: Option<Timestamp>,
    pub lte: Option<Timestamp>,
}

/// Lengths of time from `gte` to `lte`, both in it; microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lengths {
    pub gte: Option<i64>,
    pub lte: Option<i64>,
}

/// When runs, or task instances of runs, were due, started and ended, and how long those took that have ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spans {
    /// Of the run.
    pub logical_date: Range,
    /// Of the run.
    pub run_after: Range,
    pub start_date: Range,
    pub end_date: Range,
    pub duration: Lengths,
}

impl Range {
    /// Whether `at` is in it. What is not known is in a range alone that leaves nothing out.
    pub fn holds(self, at: Option<Timestamp>) -> bool {
        let is_after = |from| at.is_some_and(|at| at >= from);
        let is_before = |to| at.is_some_and(|at| at <= to);
        self.gte.is_none_or(is_after) && self.lte.is_none_or(is_before)
    }
}

impl From<Day> for Range {
    fn from(day: Day) -> Self {
        Self { gte: Some(day.start), lte: Some(Timestamp::from_micros(day.end.as_micros() - 1)) }
    }
}

/// Which names: those that hold one of the texts, and begin with one of the prefixes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Like {
    /// As SQL LIKE reads them, whatever the case: `%` any text, `_` any character, `\\` takes their meaning away. Empty: any name.
    pub any: Vec<String>,
    /// As they stand. Empty: any name.
    pub prefixes: Vec<String>,
}

impl Like {
    /// Says of names that are not in the database whether they are so.
    ///
    /// # Errors
    /// If the texts are more than may be looked for in many names: hundreds of `%`.
    pub fn matcher(&self) -> Result<impl Fn(&str) -> bool, regex::Error> {
        let any = self.any.iter().map(|text| like_regex(text));
        let any = RegexSetBuilder::new(any).size_limit(MAX_MATCHER_BYTES).build()?;
        Ok(move |name: &str| {
            (any.is_empty() || any.is_match(name))
                && (self.prefixes.is_empty() || self.prefixes.iter().any(|prefix| name.starts_with(prefix)))
        })
    }

    /// Names that are like this text.
    pub fn one(text: impl Into<String>) -> Self {
        Self { any: vec![text.into()], prefixes: Vec::new() }
    }
}

/// SQL's LIKE, whatever the case, as a regular expression.
fn like_regex(text: &str) -> String {
    let mut regex = String::from(r"(?si)\A");
    let mut chars = text.chars();
    while let Some(next) = chars.next() {
        match next {
            '%' => regex.push_str(".*"),
            '_' => regex.push('.'),
            '\\' => regex.push_str(&regex::escape(chars.next().unwrap_or('\\').encode_utf8(&mut [0; 4]))),
            other => regex.push_str(&regex::escape(other.encode_utf8(&mut [0; 4]))),
        }
    }
    regex + r"\z"
}

impl Store {
    /// The rows of `list`, and how many `count` says that there are.
    pub(super) async fn listed<T: FromRow>(&self, list: Builder, count: Builder) -> Result<Listed<T>, StoreError> {
        let (items, total) = tokio::try_join!(
            list.build_query_as().fetch_all(self.readers()),
            count.build_query_scalar().fetch_one(self.readers())
        )?;
        Ok(Listed { items, total })
    }
}

/// Wraps `base`, which ends with `WHERE` and a condition, so that its rows are counted up to [`MAX_TOTAL`].
pub(super) fn counting(base: &str) -> Builder {
    Builder::new(format!("SELECT count(*) FROM ({base}"))
}

pub(super) fn push_count_end(builder: &mut Builder) {
    builder.push(" LIMIT ").push_bind(MAX_TOTAL).push(") AS counted");
}

/// Where several rows may fit an `EXISTS` of one table, it says `LIMIT 1`: SQLite 3.51 makes a join of another, and counts each
/// of them to the offset.
pub(super) fn push_page(builder: &mut Builder, page: Page) {
    builder.push(" LIMIT ").push_bind(page.limit.min(MAX_PAGE)).push(" OFFSET ").push_bind(page.offset);
}

pub(super) fn push_range(builder: &mut Builder, column: &'static str, range: Range) {
    if let Some(from) = range.gte {
        builder.push(" AND ").push(column).push(" >= ").push_bind(from);
    }
    if let Some(to) = range.lte {
        builder.push(" AND ").push(column).push(" <= ").push_bind(to);
    }
}

/// What took from `start` to `end`, and has ended, took so long.
pub(super) fn push_lengths(builder: &mut Builder, start: &'static str, end: &'static str, lengths: Lengths) {
    for (bound, is) in [(lengths.gte, " >= "), (lengths.lte, " <= ")] {
        if let Some(bound) = bound {
            builder.push(" AND ").push(end).push(" - ").push(start).push(is).push_bind(bound);
        }
    }
}

/// `column`, a number, is one of `values`; an empty list asks for nothing in particular.
pub(super) fn push_numbers(builder: &mut Builder, column: &'static str, values: &[i64]) {
    match values {
        [] => {}
        [one] => drop(builder.push(" AND ").push(column).push(" = ").push_bind(*one)),
        many => {
            let many: Vec<_> = many.iter().map(i64::to_string).collect();
            builder.push(" AND ").push(column).push(" IN (").push(many.join(", ")).push(")");
        }
    }
}

/// `column` is one of `values`; an empty list asks for nothing in particular.
pub(super) fn push_any<T: Serialize>(
    builder: &mut Builder,
    column: &'static str,
    values: &[T],
) -> Result<(), StoreError> {
    if !values.is_empty() {
        builder.push(" AND ").push(column);
        push_in(builder, values)?;
    }
    Ok(())
}

pub(super) fn push_in<T: Serialize>(builder: &mut Builder, values: &[T]) -> Result<(), StoreError> {
    builder.push(" IN (SELECT value FROM ");
    builder.push_each("json_each(", "jsonb_array_elements_text(CAST(").push_bind(super::codec::json(values)?);
    builder.push_each("))", " AS jsonb)))");
    Ok(())
}

/// `column`, which must be qualified, is a name that is looked for.
pub(super) fn push_like(builder: &mut Builder, column: &'static str, like: &Like) -> Result<(), StoreError> {
    push_like_each(builder, [column, column], like)
}

/// The same, where SQLite and PostgreSQL name the column in different ways.
pub(super) fn push_like_each(
    builder: &mut Builder,
    [sqlite, postgres]: [&'static str; 2],
    like: &Like,
) -> Result<(), StoreError> {
    for (texts, before, after) in [
        (&like.any, "lower(", ") LIKE lower(value) ESCAPE '\\' LIMIT 1)"),
        (&like.prefixes, "substr(", ", 1, length(value)) = value LIMIT 1)"),
    ] {
        if !texts.is_empty() {
            builder.push(" AND EXISTS (SELECT 1 FROM ");
            builder.push_each("json_each(", "jsonb_array_elements_text(CAST(").push_bind(super::codec::json(texts)?);
            builder.push_each(")", " AS jsonb))").push(" WHERE ").push(before).push_each(sqlite, postgres).push(after);
        }
    }
    Ok(())
}

/// One of two columns is like it.
pub(super) fn push_either_like(
    builder: &mut Builder,
    [one, other]: [&'static str; 2],
    like: &Like,
) -> Result<(), StoreError> {
    if *like == Like::default() {
        return Ok(());
    }
    builder.push(" AND (TRUE");
    push_like(builder, one, like)?;
    builder.push(" OR TRUE");
    push_like(builder, other, like)?;
    builder.push(")");
    Ok(())
}

/// `column` is one of `dags`.
pub(super) fn push_dags(builder: &mut Builder, column: &'static str, dags: &DagSet) -> Result<(), StoreError> {
    match (dags.the_one(), dags.listed()) {
        (Some(dag_id), _) => drop(builder.push(" AND ").push(column).push(" = ").push_bind(dag_id.clone())),
        (None, None) => {}
        (None, Some(dags)) if dags.is_empty() => drop(builder.push(" AND FALSE")),
        (None, Some(dags)) => {
            // The plus keeps the walk in the list's order: an index on dags would have all of theirs read and sorted first.
            builder.push_each(" AND +", " AND ").push(column);
            push_in(builder, &dags.iter().collect::<Vec<_>>())?;
        }
    }
    Ok(())
}

/// `column` is one of `words`, which stand in the text, so that partial indexes can serve.
pub(super) fn push_words(builder: &mut Builder, column: &'static str, words: impl Iterator<Item = &'static str>) {
    let words: Vec<_> = words.map(|word| format!("'{word}'")).collect();
    if !words.is_empty() {
        builder.push(" AND ").push(column).push(" IN (").push(words.join(", ")).push(")");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_not_in_the_database_are_compared_as_those_that_are() {
        let is = |text: &str, name: &str| Like::one(text).matcher().unwrap()(name);
        assert!(is("%LOAD_%", "the load 1") && !is("%load_%", "the load"));
        assert!(is(r"100\%\_", "100%_") && !is(r"100\%", "1000") && is("a\\", "a\\"));
        assert!(is("%(.+%", "x(.+)") && !is("a.c", "abc") && is("a%c", "a\nc") && !is("b", "abc"));
        let begins = Like { any: Vec::new(), prefixes: vec!["Lo".into(), "x".into()] };
        assert!(begins.matcher().unwrap()("Load") && !begins.matcher().unwrap()("load"));
        assert!(Like::default().matcher().unwrap()(""));
        let alternatives = (0..100).map(|number| format!("%name {number}%")).collect();
        assert!(Like { any: alternatives, prefixes: Vec::new() }.matcher().unwrap()("a Name 99!"));
        assert!(Like::one("%a".repeat(2_000)).matcher().is_err());
    }
}
