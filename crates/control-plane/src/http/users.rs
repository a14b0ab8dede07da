//! Users, for administrators.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use control_api::identity::{AddUser, OneTimeLink, User, UserList};
use http_api::answers::Created;
use http_api::inputs::{Body, InPath};
use model::UserId;

use super::auth::{Administrator, Anybody};
use super::inputs::WithId;
use super::origins::Origins;
use crate::app::App;
use crate::app::links::{NewLink, present};
use crate::fault::Outcome;

pub async fn list(
    State(app): State<Arc<App>>,
    Administrator(_): Administrator,
) -> Outcome<Json<UserList>> {
    let users = app.store.users().await?;
    Ok(Json(UserList {
        users: users.iter().map(present).collect(),
    }))
}

pub async fn add(
    State(app): State<Arc<App>>,
    Administrator(caller): Administrator,
    anybody: Anybody,
    Body(add): Body<AddUser>,
) -> Outcome<Created<OneTimeLink>> {
    let (user, link) = app.add_user(&caller.user.id, &add).await?;
    Ok(Created(one_time(&anybody.origins, user, &link)))
}

pub async fn reset_password(
    State(app): State<Arc<App>>,
    Administrator(caller): Administrator,
    anybody: Anybody,
    InPath(user): InPath<WithId>,
) -> Outcome<Created<OneTimeLink>> {
    let (user, link) = app
        .reset_password(&caller.user.id, &UserId::new(user.id))
        .await?;
    Ok(Created(one_time(&anybody.origins, user, &link)))
}

/// The token is behind the `#`: no server and no log sees it there.
fn one_time(origins: &Origins, user: User, link: &NewLink) -> OneTimeLink {
    let url = format!("{}/welcome#{}", origins.main(), link.token);
    OneTimeLink {
        user,
        url,
        expires_ms: link.expires_ms,
    }
}
