//! Many changes in one request, each in a transaction of its own with its entry in the audit log.
//!
//! An action looks first whether what it names is there: where that is said to be a failure, it changes nothing. What it
//! changes after that it answers one by one, so that one that is refused does not hold up the others.

pub mod runs;
pub mod settings;
pub mod task_instances;

use std::collections::BTreeSet;

use axum::{Json, http::StatusCode};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, MapAccess, Visitor, value::MapAccessDeserializer},
};
use utoipa::ToSchema;

use super::{
    Api,
    dags::UpdateMask,
    error::{ApiError, Place},
};
use crate::auth::Audit;

/// Things that one request may be about.
const MAX_ENTITIES: usize = 1_000;

/// Airflow: `BulkBody`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, bound = "T: DeserializeOwned")]
pub struct BulkBody<T> {
    /// Carried out in this order.
    actions: Vec<BulkAction<T>>,
}

/// Airflow: `BulkCreateAction`, `BulkUpdateAction`, `BulkDeleteAction`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, bound = "T: DeserializeOwned")]
pub struct BulkAction<T> {
    action: Action,
    /// What is made, changed or deleted, at most 1,000 in all actions; in `delete` names will do.
    #[schema(value_type = Vec<T>)]
    entities: Vec<Item<T>>,
    /// For `create`, of what is there already.
    #[serde(default)]
    action_on_existence: Option<OnExistence>,
    /// For `update` and `delete`, of what is not there.
    #[serde(default)]
    action_on_non_existence: Option<OnAbsence>,
    /// For `update`: the fields that count; those that stand in the entity if it is left out.
    #[serde(default)]
    update_mask: Option<Vec<String>>,
}

/// What is done with things.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    Create,
    Update,
    Delete,
}

/// Airflow: `BulkActionOnExistence`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum OnExistence {
    #[default]
    Fail,
    Skip,
    Overwrite,
}

/// Airflow: `BulkActionNotOnExistence`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum OnAbsence {
    #[default]
    Fail,
    Skip,
}

/// A thing, or in `delete` only its name.
#[derive(Debug)]
pub enum Item<T> {
    Name(String),
    Entity(T),
}

/// What became of the actions, by their kind. Airflow: `BulkResponse`.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct BulkResponse {
    create: Option<BulkActionResponse>,
    update: Option<BulkActionResponse>,
    delete: Option<BulkActionResponse>,
}

#[derive(Debug, Default, Serialize, ToSchema)]
pub struct BulkActionResponse {
    /// The names of what was done.
    success: Vec<String>,
    errors: Vec<BulkError>,
}

/// What was not done, and why.
#[derive(Debug, Serialize, ToSchema)]
pub struct BulkError {
    error: String,
    /// That which a request for it alone would have been answered with.
    status_code: u16,
}

/// What is changed in bulk: how one of it is found, made, changed and deleted.
pub trait Resource: Sync {
    type Entity: DeserializeOwned + Send;

    /// What many of them are called.
    const NAMES: &'static str;
    /// Their fields, all of which a `create` sets that overwrites what is there.
    const FIELDS: &'static [&'static str] = &[];
    /// What can be done with them; all else is answered with 405.
    const ACTIONS: &'static [Action] = &[Action::Create, Action::Update, Action::Delete];

    /// What it is called in the answer.
    ///
    /// # Errors
    /// If it does not say enough to be one.
    fn name(&self, item: &Item<Self::Entity>) -> Result<String, ApiError>;

    /// Whether it is there; an error, if the user may not do this with it.
    fn exists(&self, item: &Item<Self::Entity>, action: Action) -> impl Future<Output = Result<bool, ApiError>> + Send;

    fn create(&self, _entity: Self::Entity) -> impl Future<Output = Result<(), ApiError>> + Send {
        async { Err(unsupported::<Self>(Action::Create)) }
    }

    fn update(&self, entity: Self::Entity, mask: &UpdateMask) -> impl Future<Output = Result<(), ApiError>> + Send;

    fn delete(&self, _item: Item<Self::Entity>) -> impl Future<Output = Result<(), ApiError>> + Send {
        async { Err(unsupported::<Self>(Action::Delete)) }
    }

    /// Makes the audit log's entry of one change name what it is about.
    fn tell(&self, _entry: &Audit, _item: &Item<Self::Entity>, _action: Action) {}
}

impl Action {
    fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

fn unsupported<R: Resource + ?Sized>(action: Action) -> ApiError {
    let detail = format!("there is no `{}` of {} here", action.as_str(), R::NAMES);
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
}

/// # Errors
/// If there are more than a request may be about.
pub fn check_count<P: Into<Place>>(count: usize, place: impl IntoIterator<Item = P>) -> Result<(), ApiError> {
    if count > MAX_ENTITIES {
        let why = format!("a request is about {MAX_ENTITIES} things at most; divide it");
        return Err(ApiError::invalid(place, why));
    }
    Ok(())
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Item<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either<T>(std::marker::PhantomData<T>);

        impl<'de, T: DeserializeOwned> Visitor<'de> for Either<T> {
            type Value = Item<T>;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("an object or a name")
            }

            fn visit_str<E>(self, name: &str) -> Result<Item<T>, E> {
                Ok(Item::Name(name.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Item<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Item::Entity)
            }
        }

        deserializer.deserialize_any(Either(std::marker::PhantomData))
    }
}

impl<T> BulkBody<T> {
    /// Refuses what says something that does not go together.
    fn check(&self) -> Result<(), ApiError> {
        let invalid = |index: usize, field: &str, why: &str| {
            let place = [Place::from("body"), "actions".into(), Place::Index(index), field.into()];
            Err(ApiError::invalid(place, why))
        };
        for (index, action) in self.actions.iter().enumerate() {
            let is = |kind| action.action == kind;
            if action.action_on_existence.is_some() && !is(Action::Create) {
                return invalid(index, "action_on_existence", "only `create` takes it");
            }
            if action.action_on_non_existence.is_some() && is(Action::Create) {
                return invalid(index, "action_on_non_existence", "only `update` and `delete` take it");
            }
            if action.update_mask.is_some() && !is(Action::Update) {
                return invalid(index, "update_mask", "only `update` takes it");
            }
            if !is(Action::Delete) && action.entities.iter().any(|item| matches!(item, Item::Name(_))) {
                return invalid(index, "entities", "a name alone is enough for `delete` only; give an object");
            }
        }
        check_count(self.actions.iter().map(|action| action.entities.len()).sum(), ["body", "actions"])
    }
}

impl BulkActionResponse {
    fn refuse(&mut self, name: Option<&str>, error: &ApiError) {
        let said = error.said();
        self.errors.push(BulkError {
            error: name.map_or_else(|| said.clone(), |name| format!("`{name}`: {said}")),
            status_code: error.status().as_u16(),
        });
    }
}

/// Carries out the actions of a request.
///
/// # Errors
/// If the request makes no sense, or the store fails before anything is changed.
pub async fn carry_out<R: Resource>(
    api: &Api,
    audit: &Audit,
    resource: &R,
    body: BulkBody<R::Entity>,
) -> Result<Json<BulkResponse>, ApiError> {
    body.check()?;
    let mut response = BulkResponse::default();
    for action in body.actions {
        let done = match action.action {
            Action::Create => &mut response.create,
            Action::Update => &mut response.update,
            Action::Delete => &mut response.delete,
        };
        Box::pin(act(api, audit, resource, action, done.get_or_insert_default())).await;
    }
    // Each change has its own entry.
    audit.nothing();
    Ok(Json(response))
}

async fn act<R: Resource>(
    api: &Api,
    audit: &Audit,
    resource: &R,
    action: BulkAction<R::Entity>,
    response: &mut BulkActionResponse,
) {
    if !R::ACTIONS.contains(&action.action) {
        return response.refuse(None, &unsupported::<R>(action.action));
    }
    let mut found = Vec::with_capacity(action.entities.len());
    for item in action.entities {
        let name = match resource.name(&item) {
            Ok(name) => name,
            Err(error) => {
                response.refuse(None, &error);
                continue;
            }
        };
        match resource.exists(&item, action.action).await {
            Ok(is_there) => found.push((name, item, is_there)),
            Err(error) => response.refuse(Some(&name), &error),
        }
    }
    let (on_existence, on_absence) =
        (action.action_on_existence.unwrap_or_default(), action.action_on_non_existence.unwrap_or_default());
    let named = |is_there: bool| {
        let names = found.iter().filter(|(_, _, is)| *is == is_there).map(|(name, _, _)| format!("`{name}`"));
        names.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(", ")
    };
    let refused = match action.action {
        Action::Create if on_existence == OnExistence::Fail => Some(named(true))
            .filter(|names| !names.is_empty())
            .map(|names| ApiError::conflict(format!("{} exist already, so that nothing was made: {names}", R::NAMES))),
        Action::Update | Action::Delete if on_absence == OnAbsence::Fail => {
            Some(named(false)).filter(|names| !names.is_empty()).map(|names| {
                ApiError::not_found(format!("{} do not exist, so that nothing was changed: {names}", R::NAMES))
            })
        }
        Action::Create | Action::Update | Action::Delete => None,
    };
    if let Some(error) = refused {
        return response.refuse(None, &error);
    }
    let update_mask: Vec<String> = match action.action {
        // What overwrites is all that there is then: what it leaves out goes.
        Action::Create => R::FIELDS.iter().copied().map(String::from).collect(),
        Action::Update | Action::Delete => action.update_mask.unwrap_or_default(),
    };
    let mask = UpdateMask { update_mask };
    for (name, item, is_there) in found {
        let is_skipped = match action.action {
            Action::Create => is_there && on_existence == OnExistence::Skip,
            Action::Update | Action::Delete => !is_there,
        };
        if is_skipped {
            continue;
        }
        let entry = audit.part();
        resource.tell(&entry, &item, action.action);
        let change = async {
            match (action.action, item) {
                (Action::Delete, item) => resource.delete(item).await,
                (Action::Create, Item::Entity(entity)) if !is_there => resource.create(entity).await,
                (Action::Create | Action::Update, Item::Entity(entity)) => resource.update(entity, &mask).await,
                // `check` refused it.
                (Action::Create | Action::Update, Item::Name(_)) => Ok(()),
            }
        };
        match apart(api, entry, change).await {
            Ok(()) => response.success.push(name),
            Err(error) => response.refuse(Some(&name), &error),
        }
    }
}

/// Carries `change` out under an entry of its own, which is written at the latest when it is done.
///
/// # Errors
/// That of the change; or if the entry can't be written.
pub async fn apart(
    api: &Api,
    entry: Audit,
    change: impl Future<Output = Result<(), ApiError>>,
) -> Result<(), ApiError> {
    let done = entry.clone().scope(change).await;
    if let Some(event) = entry.take().filter(|_| done.is_ok() || entry.has_begun()) {
        api.auth.record(event).await?;
    }
    done
}
