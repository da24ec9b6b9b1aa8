//! Where sealed values stand: who seals and who unseals must name the same place.

use crate::model::ids::{ConnectionId, DagId, VariableKey};

/// The value of a variable.
pub fn variable(key: &VariableKey) -> String {
    format!("variable|{key}|value")
}

/// The secret of a dag's webhook.
pub fn webhook(dag_id: &DagId) -> String {
    format!("webhook|{dag_id}|secret")
}

/// The password of a connection.
pub fn connection_password(id: &ConnectionId) -> String {
    format!("connection|{id}|password")
}

/// The `extra` of a connection.
pub fn connection_extra(id: &ConnectionId) -> String {
    format!("connection|{id}|extra")
}
