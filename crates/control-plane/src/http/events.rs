//! Changes as they happen, as server-sent events. A stream ends when the sign-in does.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use aide::OperationOutput;
use aide::generate::GenContext;
use aide::openapi::{Operation, Response as Described};
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue};
use axum::response::sse::{KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use control_api::events::Event;
use control_api::programs::InWorkspace;
use futures::Stream;
use http_api::answers::describe_body;
use http_api::inputs::InPath;
use model::WorkspaceId;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

use super::auth::SignedIn;
use crate::app::App;
use crate::app::identity::Caller;
use crate::events::Told;
use crate::fault::Outcome;

/// Something is sent so often, so that nobody between closes the connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// The sign-in is looked at again so often.
const RECHECK: Duration = Duration::from_secs(20);

/// A stream of events.
pub struct EventStream(Response);

pub async fn all(State(app): State<Arc<App>>, SignedIn(caller): SignedIn) -> Outcome<EventStream> {
    let told = app.events.watch();
    Ok(EventStream::new(Watch::new(app, caller, told, None)))
}

pub async fn one(
    State(app): State<Arc<App>>,
    SignedIn(caller): SignedIn,
    InPath(path): InPath<InWorkspace>,
) -> Outcome<EventStream> {
    // Before the look at the row: what changes after it is heard of.
    let told = app.events.watch();
    let row = app.own(&caller, &path.workspace).await?;
    Ok(EventStream::new(Watch::new(
        app,
        caller,
        told,
        Some(row.id),
    )))
}

struct Watch {
    app: Arc<App>,
    caller: Caller,
    told: Receiver<Told>,
    only: Option<WorkspaceId>,
    greeted: bool,
    recheck: Instant,
}

impl Watch {
    fn new(app: Arc<App>, caller: Caller, told: Receiver<Told>, only: Option<WorkspaceId>) -> Self {
        Self {
            app,
            caller,
            told,
            only,
            greeted: false,
            recheck: Instant::now() + RECHECK,
        }
    }

    /// None: the sign-in has ended.
    async fn next(&mut self) -> Option<Event> {
        if !self.greeted {
            self.greeted = true;
            return Some(Event::Hello);
        }
        loop {
            match tokio::time::timeout_at(self.recheck, self.told.recv()).await {
                // Also when there is always something to tell.
                Ok(_) if Instant::now() >= self.recheck && !self.still_may().await => return None,
                Ok(Ok(told)) => {
                    let wanted = self
                        .only
                        .as_ref()
                        .is_none_or(|only| *only == told.workspace);
                    if wanted && told.owner == self.caller.user.id {
                        return Some(told.event);
                    }
                }
                Ok(Err(RecvError::Lagged(_))) => return Some(Event::Resync),
                Ok(Err(RecvError::Closed)) => return None,
                Err(_) if !self.still_may().await => return None,
                Err(_) => {}
            }
        }
    }

    async fn still_may(&mut self) -> bool {
        self.recheck = Instant::now() + RECHECK;
        let right = self.caller.right.text();
        matches!(self.app.right_is_valid(&right).await, Ok(true))
    }
}

impl EventStream {
    fn new(watch: Watch) -> Self {
        let stream = futures::stream::unfold(watch, |mut watch| async {
            let event = watch.next().await?;
            Some((encode(&event), watch))
        });
        Self(answer(stream))
    }
}

fn encode(event: &Event) -> Result<axum::response::sse::Event, Infallible> {
    let data = serde_json::to_string(event).expect("plain data is always JSON");
    Ok(axum::response::sse::Event::default()
        .event(event.name())
        .data(data))
}

fn answer(
    stream: impl Stream<Item = Result<axum::response::sse::Event, Infallible>> + Send + 'static,
) -> Response {
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE);
    let mut response = Sse::new(stream).keep_alive(keep_alive).into_response();
    // A proxy such as nginx would hold events back.
    let unbuffered = HeaderName::from_static("x-accel-buffering");
    response
        .headers_mut()
        .insert(unbuffered, HeaderValue::from_static("no"));
    response
}

impl IntoResponse for EventStream {
    fn into_response(self) -> Response {
        self.0
    }
}

impl OperationOutput for EventStream {
    type Inner = Event;

    fn inferred_responses(
        context: &mut GenContext,
        _: &mut Operation,
    ) -> Vec<(Option<u16>, Described)> {
        describe_body::<Event>(context, 200, "text/event-stream")
    }
}
