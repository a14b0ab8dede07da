//! Sign-in, profile, API tokens.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::NoContent;
use control_api::identity::{
    ChangePassword, CheckLink, CreateToken, LinkInfo, Me, NewToken, SignIn, TokenByPassword,
    TokenList, UpdateMe, Welcome,
};
use http_api::answers::Created;
use http_api::inputs::{Body, InPath};

use super::answers::{CookieOnly, WithCookie};
use super::auth::{Anybody, SignedIn, set_cookie};
use super::inputs::WithId;
use crate::app::App;
use crate::app::identity::me;
use crate::fault::Outcome;

pub async fn check_link(
    State(app): State<Arc<App>>,
    anybody: Anybody,
    Body(check): Body<CheckLink>,
) -> Outcome<Json<LinkInfo>> {
    Ok(Json(app.check_link(&anybody.client, &check.token).await?))
}

pub async fn welcome(
    State(app): State<Arc<App>>,
    anybody: Anybody,
    Body(welcome): Body<Welcome>,
) -> Outcome<WithCookie<Me>> {
    let user = app.welcome(&anybody.client, &welcome).await?;
    let session = app.begin_session(&user.id).await?;
    Ok(WithCookie(
        set_cookie(&anybody.origins, Some(&session)),
        me(&user),
    ))
}

pub async fn sign_in(
    State(app): State<Arc<App>>,
    anybody: Anybody,
    Body(given): Body<SignIn>,
) -> Outcome<WithCookie<Me>> {
    let user = app.by_password(&anybody.client, &given).await?;
    let session = app.begin_session(&user.id).await?;
    Ok(WithCookie(
        set_cookie(&anybody.origins, Some(&session)),
        me(&user),
    ))
}

pub async fn sign_out(
    State(app): State<Arc<App>>,
    SignedIn(caller): SignedIn,
    anybody: Anybody,
) -> Outcome<CookieOnly> {
    app.end_session(&caller).await?;
    Ok(CookieOnly(set_cookie(&anybody.origins, None)))
}

pub async fn show_me(SignedIn(caller): SignedIn) -> Outcome<Json<Me>> {
    Ok(Json(me(&caller.user)))
}

pub async fn update_me(
    State(app): State<Arc<App>>,
    SignedIn(caller): SignedIn,
    Body(update): Body<UpdateMe>,
) -> Outcome<Json<Me>> {
    Ok(Json(app.update_me(&caller, &update).await?))
}

pub async fn change_password(
    State(app): State<Arc<App>>,
    SignedIn(caller): SignedIn,
    anybody: Anybody,
    Body(change): Body<ChangePassword>,
) -> Outcome<NoContent> {
    app.change_password(&anybody.client, &caller, &change)
        .await?;
    Ok(NoContent)
}

pub async fn tokens(
    State(app): State<Arc<App>>,
    SignedIn(caller): SignedIn,
) -> Outcome<Json<TokenList>> {
    Ok(Json(TokenList {
        tokens: app.store.tokens(&caller.user.id).await?,
    }))
}

pub async fn create_token(
    State(app): State<Arc<App>>,
    SignedIn(caller): SignedIn,
    Body(create): Body<CreateToken>,
) -> Outcome<Created<NewToken>> {
    Ok(Created(app.create_token(&caller.user.id, &create).await?))
}

pub async fn token_by_password(
    State(app): State<Arc<App>>,
    anybody: Anybody,
    Body(given): Body<TokenByPassword>,
) -> Outcome<Created<NewToken>> {
    let sign_in = SignIn {
        email: given.email,
        password: given.password,
    };
    let user = app.by_password(&anybody.client, &sign_in).await?;
    let create = CreateToken {
        name: given.name,
        expires_in_days: given.expires_in_days,
    };
    Ok(Created(app.create_token(&user.id, &create).await?))
}

pub async fn delete_token(
    State(app): State<Arc<App>>,
    SignedIn(caller): SignedIn,
    InPath(token): InPath<WithId>,
) -> Outcome<NoContent> {
    app.delete_token(&caller.user.id, &token.id).await?;
    Ok(NoContent)
}
