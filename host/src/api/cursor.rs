//! Lists that are read on from a row, where an offset would read all that comes before it. Airflow: `cursor`, of dag_runs and task
//! instances.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use super::{error::ApiError, extract::Paging};
use crate::store::{Order, Page, Place};

/// Where the page begins.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct CursorQuery {
    /// `next_cursor` or `previous_cursor` of another page, in the same `order_by`; empty for the first page. `offset` does not count
    /// then.
    cursor: Option<String>,
}

/// A page that is asked for by a cursor.
#[derive(Debug)]
pub struct Cursor {
    limit: u32,
    order_by: String,
    beside: Option<Beside>,
}

/// What a client holds of it: a row's place in the list, as JSON in Base64.
#[derive(Debug, Clone, Serialize, Deserialize)]
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
    /// None if the page is asked for by an offset.
    ///
    /// # Errors
    /// If the cursor can't be read or is of another order.
    pub fn asked(&self, paging: &Paging) -> Result<Option<Cursor>, ApiError> {
        let Some(text) = &self.cursor else { return Ok(None) };
        let beside = if text.is_empty() { None } else { Some(Beside::read(text).ok_or_else(unknown)?) };
        let order_by = paging.order_text().to_owned();
        if beside.as_ref().is_some_and(|beside| beside.order_by != order_by) {
            return Err(ApiError::bad_request(
                "the cursor is of a list in another `order_by`; send the same one with it",
            ));
        }
        Ok(Some(Cursor { limit: paging.page().limit, order_by, beside }))
    }
}

impl Cursor {
    /// What to list: one row more than the page has tells whether the list goes on.
    pub fn page(&self) -> Page {
        Page::first(self.limit + 1)
    }

    /// The order in which the rows are found, of a list that is shown in `order`.
    pub fn order(&self, order: Order) -> Order {
        if self.goes_back() { order.reversed() } else { order }
    }

    /// The row to begin after in that order; none for the list's first.
    ///
    /// # Errors
    /// If it is none of the list, as `is_of_list` says.
    pub fn after(&self, is_of_list: impl Fn(&Place) -> bool) -> Result<Option<Place>, ApiError> {
        let place = self.beside.as_ref().map(|beside| beside.place.clone());
        match place {
            Some(place) if !is_of_list(&place) => Err(unknown()),
            place => Ok(place),
        }
    }

    /// Makes what was listed the page that is shown.
    pub fn cut<T>(&self, rows: &mut Vec<T>, place: impl Fn(&T) -> Place) -> Neighbours {
        let goes_on = rows.len() > self.limit as usize;
        rows.truncate(self.limit as usize);
        if self.goes_back() {
            rows.reverse();
        }
        let cursor = |row: Option<&T>, before| {
            Some(Beside { order_by: self.order_by.clone(), before, place: place(row?) }.text())
        };
        // Where the reader came from there is more.
        let (has_next, has_previous) =
            if self.goes_back() { (true, goes_on) } else { (goes_on, self.beside.is_some()) };
        Neighbours {
            next: has_next.then(|| cursor(rows.last(), false)).flatten(),
            previous: has_previous.then(|| cursor(rows.first(), true)).flatten(),
        }
    }

    fn goes_back(&self) -> bool {
        self.beside.as_ref().is_some_and(|beside| beside.before)
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
