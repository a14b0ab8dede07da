//! Who takes how much, and quotas.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use control_api::identity::Role;
use control_api::problem::Kind;
use control_api::usage::{Usage, UsageQuery};
use http_api::inputs::{Body, InPath, Params};
use model::{Quota, UserId};

use super::auth::{Administrator, SignedIn};
use super::inputs::WithId;
use crate::app::App;
use crate::fault::{Fault, Outcome};

pub async fn show(
    State(app): State<Arc<App>>,
    SignedIn(caller): SignedIn,
    Params(query): Params<UsageQuery>,
) -> Outcome<Json<Usage>> {
    if query.everybody && caller.user.role != Role::Administrator {
        let detail = "Only an administrator sees what others use.";
        return Err(Fault::new(Kind::Forbidden, detail));
    }
    Ok(Json(app.usage(&caller, query.everybody).await?))
}

pub async fn set_of_user(
    State(app): State<Arc<App>>,
    Administrator(caller): Administrator,
    InPath(user): InPath<WithId>,
    Body(quota): Body<Quota>,
) -> Outcome<Json<Quota>> {
    let user = UserId::new(user.id);
    Ok(Json(app.set_user_quota(&caller, &user, &quota).await?))
}

pub async fn set_of_organization(
    State(app): State<Arc<App>>,
    Administrator(caller): Administrator,
    Body(quota): Body<Quota>,
) -> Outcome<Json<Quota>> {
    Ok(Json(app.set_organization_quota(&caller, &quota).await?))
}
