//! Forms for what is said of a dag in place of what the server's settings say.

use std::collections::BTreeMap;

use axum::{
    Form,
    extract::{Path, State},
    response::Response,
};

use crate::{
    model::{dag_numbers::Field, ids::DagId},
    scheduler::HeldNumbers,
    ui::{
        UiState,
        error::UiError,
        links,
        pages::{
            run::crumbs,
            settings::{FormView, SettingField, SettingKind, Wrong},
        },
        shell::{Frame, Section, go_and_tell, page},
    },
};

/// How they are shown.
pub trait ShownNumbers: HeldNumbers {
    const PAGE: &'static str;
    /// The last part of the form's address.
    const PATH: &'static str;
    /// What stands before "of" and the dag.
    const HEADING: &'static str;
    const CHANGED: &'static str;
    /// Of each of the `FIELDS`, what it is called and what else there is to say.
    const WORDS: &'static [(&'static str, &'static str)];
}

/// What is typed, by the names of fields. Empty: what the server's settings say.
type Typed = BTreeMap<String, String>;

fn fields<T: ShownNumbers>() -> impl Iterator<Item = (&'static Field<T>, &'static str, &'static str)> {
    T::FIELDS.iter().zip(T::WORDS).map(|(field, (label, help))| (field, *label, *help))
}

fn show<T: ShownNumbers>(said: T) -> Typed {
    let text = |field: &Field<T>| said.get(field).map(|number| number.to_string()).unwrap_or_default();
    T::FIELDS.iter().map(|field| (field.name.to_owned(), text(field))).collect()
}

fn read<T: ShownNumbers>(typed: &Typed) -> Result<T, Wrong> {
    let said = T::try_build(|field| match typed.get(field.name).map_or("", |text| text.trim()) {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| Wrong::at(field.name, "it must be a number: 0, 1, 2, ...")),
    })?;
    said.check().map_err(|error| Wrong::at(error.field, error))?;
    Ok(said)
}

fn form<T: ShownNumbers>(frame: Frame, dag_id: &DagId, mut typed: Typed, wrong: Option<Wrong>) -> FormView {
    let heading = format!("{} of {dag_id}", T::HEADING);
    let field = |(field, label, help): (&Field<T>, _, _)| {
        let value = typed.remove(field.name).unwrap_or_default();
        SettingField::new(SettingKind::Text, field.name, label, value).help(help)
    };
    let dag = links::dag(dag_id);
    FormView {
        shell: frame.shell(Section::Dags, T::PAGE, heading.clone()),
        crumbs: crumbs(dag_id, None),
        heading,
        wrong,
        action: format!("{dag}/{}", T::PATH).into(),
        fields: fields().map(field).collect(),
        back: format!("{dag}/details").into(),
    }
}

/// `GET /dags/{dag_id}/limits`, `GET /dags/{dag_id}/retention`
pub async fn edit<T: ShownNumbers>(
    State(ui): State<UiState>,
    frame: Frame,
    Path(dag_id): Path<DagId>,
) -> Result<Response, UiError> {
    ui.dag(&dag_id).await?;
    let said: T = ui.store.dag_numbers_get(&dag_id).await?;
    Ok(page(&form::<T>(frame, &dag_id, show(said), None)))
}

/// `POST` to the same.
pub async fn save<T: ShownNumbers>(
    State(ui): State<UiState>,
    frame: Frame,
    Path(dag_id): Path<DagId>,
    Form(typed): Form<Typed>,
) -> Result<Response, UiError> {
    let said = match read::<T>(&typed) {
        Ok(said) => said,
        Err(wrong) => {
            return Ok(form::<T>(frame, &dag_id, typed, Some(wrong)).refused());
        }
    };
    ui.scheduler.dag_set_numbers(&dag_id, said).await?;
    Ok(go_and_tell(&format!("{}/details", links::dag(&dag_id)), T::CHANGED))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{limits::DagLimits, retention::DagRetention};

    fn all_have_words<T: ShownNumbers>() {
        assert_eq!(T::FIELDS.len(), T::WORDS.len(), "{}", T::PAGE);
    }

    #[test]
    fn each_field_has_its_words() {
        all_have_words::<DagLimits>();
        all_have_words::<DagRetention>();
    }
}
