//! Lists that are read on from a row, where an offset would read all that comes before it. Airflow: `cursor`, of dag_runs and task
//! instances.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use super::{error::ApiError, extract::Paging};
use crate::store::{Page, Place, Walk};

/// Where the page begins.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct CursorQuery {
    /// `next_cursor` or `previous_cursor` of another page, in the same `order_by`; empty for the first page. `offset` does not count
    /// then.
    cursor: Option<String>,
}

/// A page of a list: beside a row, or after so many.
#[derive(Debug)]
pub struct Part {
    page: Page,
    order_by: String,
    cursor: Option<Cursor>,
}

#[derive(Debug)]
enum Cursor {
    First,
    Beside(Beside),
}

/// What a client holds of it: a row's place in the list, as JSON in Base64.
#[derive(Debug, Serialize, Deserialize)]
struct Beside {
    order_by: String,
    /// The page ends before the row, else it begins after it.
    before: bool,
    place: Place,
}

/// The cursors of the pages beside one; none where the list ends.
#[derive(Debug, Default)]
pub struct Neighbours {
    pub next: Option<String>,
    pub previous: Option<String>,
}

impl CursorQuery {
    /// # Errors
    /// If the cursor can't be read or is of another order.
    pub fn part(&self, page: Page, paging: &Paging) -> Result<Part, ApiError> {
        let part = Part::new(page, paging);
        let cursor = match self.cursor.as_deref() {
            None => return Ok(part),
            Some("") => Cursor::First,
            Some(text) => Cursor::Beside(Beside::read(text).ok_or_else(unknown)?),
        };
        if matches!(&cursor, Cursor::Beside(row) if row.order_by != part.order_by) {
            return Err(ApiError::bad_request(
                "the cursor is of a list in another `order_by`; send the same one with it",
            ));
        }
        Ok(Part { cursor: Some(cursor), ..part })
    }
}

impl Part {
    /// The page in the order that `paging` asks for, which has been looked at.
    pub fn new(page: Page, paging: &Paging) -> Self {
        Self { page, order_by: paging.order_text().to_owned(), cursor: None }
    }

    /// Has `list` begin where the part does, and answers what to read of it.
    ///
    /// # Errors
    /// If the cursor is none of the list.
    pub fn begin(&self, list: &mut impl Walk) -> Result<Page, ApiError> {
        match &self.cursor {
            None => return Ok(self.page),
            Some(Cursor::First) => {}
            Some(Cursor::Beside(row)) if !list.has_place(&row.place) => return Err(unknown()),
            Some(Cursor::Beside(row)) => {
                let order = if row.before { list.order().reversed() } else { list.order() };
                list.go_on(row.place.clone(), order);
            }
        }
        // One row more than the page has tells whether the list goes on.
        Ok(Page::first(self.page.limit + 1))
    }

    /// Makes what was read of `list` the page that is shown.
    pub fn end<L: Walk>(&self, list: &L, rows: &mut Vec<L::Row>) -> Neighbours {
        let Some(cursor) = &self.cursor else { return Neighbours::default() };
        let goes_on = rows.len() > self.page.limit as usize;
        rows.truncate(self.page.limit as usize);
        // Where the reader came from there is more.
        let (has_previous, has_next) = match cursor {
            Cursor::First => (false, goes_on),
            Cursor::Beside(row) if row.before => {
                rows.reverse();
                (goes_on, true)
            }
            Cursor::Beside(_) => (true, goes_on),
        };
        let beside =
            |row: &L::Row, before| Beside { order_by: self.order_by.clone(), before, place: list.place(row) }.text();
        Neighbours {
            next: rows.last().filter(|_| has_next).map(|row| beside(row, false)),
            previous: rows.first().filter(|_| has_previous).map(|row| beside(row, true)),
        }
    }
}

impl Beside {
    fn read(text: &str) -> Option<Self> {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()
    }

    fn text(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::json!(self).to_string())
    }
}

fn unknown() -> ApiError {
    ApiError::bad_request("`cursor` is none that this list gave; leave it empty for the first page")
}
