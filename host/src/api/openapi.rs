//! The OpenAPI document, made from the routes themselves.

use utoipa::{
    Modify, OpenApi,
    openapi::{
        Components, ContentBuilder, Ref, RefOr, ResponseBuilder,
        path::Operation,
        security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
    },
};

use super::{error::Problem, identity::SESSION_COOKIE};
use crate::auth::routes::{Access, access};

/// What the document says besides the routes.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Airlock",
        description = "Airflow's stable REST API v2 wherever it has the thing; components, artifacts, grids and \
                       events in the same manner.",
    ),
    components(schemas(Problem))
)]
pub struct Document;

/// What all routes have in common: how to sign in, and how errors look.
pub struct Common;

impl Modify for Common {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_with(Components::new);
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
        components
            .add_security_scheme("cookie", SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::new(SESSION_COOKIE))));
        for (path, item) in &mut document.paths.paths {
            let operations = [
                ("GET", &mut item.get),
                ("PUT", &mut item.put),
                ("POST", &mut item.post),
                ("PATCH", &mut item.patch),
                ("DELETE", &mut item.delete),
            ];
            for (method, operation) in operations {
                let Some(operation) = operation else { continue };
                complete(operation, access(method, path));
            }
        }
    }
}

fn complete(operation: &mut Operation, access: Option<Access>) {
    if let Some(Access::Needs(permission) | Access::OfDag(permission) | Access::OfDags(permission)) = access {
        let on = match access {
            Some(Access::OfDag(_)) => " for the dag",
            Some(Access::OfDags(_)) => " for the dags that it is about",
            _ => "",
        };
        let needs = format!("Needs the permission `{permission}`{on}, which {} have.", permission.holders());
        operation.description = Some(match operation.description.take() {
            Some(said) => format!("{said}\n\n{needs}"),
            None => needs,
        });
    }
    if access != Some(Access::Public) {
        let either = ["bearer", "cookie"].map(|name| SecurityRequirement::new(name, Vec::<String>::new()));
        operation.security = Some(either.into());
    }
    let problem = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    let response = ResponseBuilder::new()
        .description("What went wrong: 400, 401, 403, 404, 409, 413, 422, 429, 500, 503")
        .content("application/json", problem)
        .build();
    operation.responses.responses.insert("default".to_owned(), RefOr::T(response));
}
