//! The pages: one file each, its views and what fills them.

pub mod approvals;
pub mod assets;
pub mod audit;
mod callbacks;
pub mod change;
pub mod components;
pub mod connections;
pub mod dag;
pub mod dags;
mod failure;
pub mod pools;
pub mod run;
pub mod runs;
mod settings;
pub mod sign_in;
pub mod task;
pub mod task_instances;
pub mod tokens;
pub mod trigger;
pub mod users;
pub mod variables;
pub mod workers;

use askama::Template;
use axum::response::Response;

use super::{
    shell::{Frame, Section, Shell, page},
    show::Crumbs,
};

/// A question before something that can't be undone.
#[derive(Template)]
#[template(path = "confirm.html")]
struct ConfirmView {
    shell: Shell,
    question: Question,
}

/// What a [`ConfirmView`] says.
struct Question {
    section: Section,
    crumbs: Crumbs,
    text: String,
    lines: Vec<String>,
    action: String,
    fields: Vec<(&'static str, String)>,
    verb: &'static str,
    dangerous: bool,
    back: String,
}

fn confirm(frame: Frame, question: Question) -> Response {
    let shell = frame.shell(question.section, "confirm", question.text.clone());
    page(&ConfirmView { shell, question })
}
