//! Credentials of git servers.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::NoContent;
use control_api::git::{GitCredential, GitCredentialList, SetGitCredential};
use http_api::answers::Created;
use http_api::inputs::{Body, InPath};

use super::auth::SignedIn;
use super::inputs::WithId;
use crate::app::App;
use crate::fault::Outcome;

pub async fn list(
    State(app): State<Arc<App>>,
    SignedIn(caller): SignedIn,
) -> Outcome<Json<GitCredentialList>> {
    let credentials = app.list_credentials(&caller.user.id).await?;
    Ok(Json(GitCredentialList { credentials }))
}

pub async fn set(
    State(app): State<Arc<App>>,
    SignedIn(caller): SignedIn,
    Body(set): Body<SetGitCredential>,
) -> Outcome<Created<GitCredential>> {
    Ok(Created(app.set_credential(&caller.user.id, &set).await?))
}

pub async fn delete(
    State(app): State<Arc<App>>,
    SignedIn(caller): SignedIn,
    InPath(credential): InPath<WithId>,
) -> Outcome<NoContent> {
    app.delete_credential(&caller.user.id, &credential.id)
        .await?;
    Ok(NoContent)
}
