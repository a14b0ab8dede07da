//! Making, finding, changing, starting and stopping workspaces.

use std::collections::BTreeMap;
use std::sync::Arc;

use control_api::points::Fork;
use control_api::problem::{Kind, Problem};
use control_api::workspaces::{CreateWorkspace, UpdateWorkspace};
use fleet_api::host::{Host, Repository};
use fleet_api::points::Origin;
use model::quota::Amount;
use model::state::{Effect, Event, State};
use model::{Remote, Size, UserId, WorkspaceId, WorkspaceName};
use ring::digest::{SHA256, digest};

use super::App;
use super::change::{advance, name_taken};
use super::identity::Caller;
use crate::fault::{Fault, Outcome, invalid_name};
use crate::store::workspaces::{Created, IdempotencyKey, WorkspaceRow};

const MAX_LABELS: usize = 32;
const MAX_LABEL: usize = 200;
/// Of one user.
const MAX_WORKSPACES: usize = 500;
const EMPTY_NAME: &str = "workspace";

/// A request for a workspace that makes sense.
pub struct Wanted {
    remote: Option<Remote>,
    branch: Option<String>,
    tags: Vec<String>,
    key: Option<IdempotencyKey>,
    /// The name, if one was asked for.
    pub asked: Option<WorkspaceName>,
}

/// What a new workspace's disk begins with, when that is not the base image.
pub struct Beginning {
    /// Where it is.
    pub host: Option<String>,
    pub origin: Origin,
    /// Of the disk.
    pub bytes: u64,
    /// The workspace's, unless another one is asked for.
    pub size: Size,
    pub repository: Option<Repository>,
    /// The workspace's is made from it, unless one is asked for.
    pub name: WorkspaceName,
}

impl App {
    /// The caller's workspace of this name or id. Others' are not found, so that nobody learns their names.
    pub async fn own(&self, caller: &Caller, name_or_id: &str) -> Outcome<WorkspaceRow> {
        match self.store.find_workspace(name_or_id).await? {
            Some(row)
                if row.owner == caller.user.id && !matches!(row.state, State::Deleted { .. }) =>
            {
                Ok(row)
            }
            Some(_) | None => Err(Fault::no_workspace(name_or_id)),
        }
    }

    /// Makes a workspace and asks for its start. With a key, the same request makes one workspace only.
    pub async fn create(
        &self,
        caller: &Caller,
        create: &CreateWorkspace,
        key: Option<&str>,
    ) -> Outcome<WorkspaceRow> {
        let wanted = self.wanted(caller, create, key).await?;
        if create.fork.is_some() && !self.was_made(caller, wanted.key.as_ref()).await? {
            // Before a point is taken for it.
            let more = Amount {
                workspaces: 1,
                ..Amount::default()
            };
            self.check_quota(caller, more).await?;
        }
        let beginning = match &create.fork {
            Some(fork) => Some(self.forked(caller, fork).await?),
            None => None,
        };
        self.make(caller, create, wanted, beginning).await
    }

    /// Everything about a request that can be told before anything is done for it.
    pub(super) async fn wanted(
        &self,
        caller: &Caller,
        create: &CreateWorkspace,
        key: Option<&str>,
    ) -> Outcome<Wanted> {
        let remote = create
            .repository
            .as_deref()
            .map(Remote::parse)
            .transpose()?;
        let branch = create.branch.as_deref().map(check_branch).transpose()?;
        if branch.is_some() && remote.is_none() {
            let detail = "A branch needs a repository.";
            return Err(Problem::new(Kind::InvalidField, detail)
                .field("branch")
                .into());
        }
        if create.fork.is_some() && remote.is_some() {
            let detail = "A fork has the repositories of the workspace that it is made from: leave repository away.";
            return Err(Problem::new(Kind::InvalidField, detail)
                .field("repository")
                .into());
        }
        check_labels(&create.labels)?;
        let tags = check_tags(&create.tags)?;
        let key = key
            .map(|key| self.idempotency_key(key, create))
            .transpose()?;
        let asked = create
            .name
            .as_deref()
            .map(|name| WorkspaceName::parse(name).map_err(|error| invalid_name(name, error)))
            .transpose()?;
        if self.store.workspaces_of(&caller.user.id).await?.len() >= MAX_WORKSPACES {
            let detail = format!("You have {MAX_WORKSPACES} workspaces. Delete one first.");
            return Err(Fault::new(Kind::WrongState, detail));
        }
        Ok(Wanted {
            remote,
            branch,
            tags,
            key,
            asked,
        })
    }

    /// What a fork begins with.
    async fn forked(&self, caller: &Caller, fork: &Fork) -> Outcome<Beginning> {
        let (from, origin, point) = self.origin(caller, fork).await?;
        Ok(Beginning {
            name: WorkspaceName::suggest(&format!("{}-fork", from.name)),
            host: from.host,
            origin,
            bytes: point.size,
            size: from.size,
            repository: from.repository,
        })
    }

    pub(super) async fn make(
        &self,
        caller: &Caller,
        create: &CreateWorkspace,
        wanted: Wanted,
        beginning: Option<Beginning>,
    ) -> Outcome<WorkspaceRow> {
        let Wanted {
            remote,
            branch,
            tags,
            key,
            asked,
        } = wanted;
        let usual = beginning
            .as_ref()
            .map_or(self.settings.default_size, |beginning| beginning.size);
        let size = create.size.unwrap_or(usual);
        self.check_size(size).await?;
        if let Some(beginning) = &beginning {
            check_disk_size(size, beginning.bytes)?;
        }
        let base = match (&beginning, &remote) {
            (Some(beginning), _) => beginning.name.clone(),
            (None, Some(remote)) => remote.suggested_name(),
            (None, None) => WorkspaceName::suggest(EMPTY_NAME),
        };
        let now = self.world.now_ms();
        let state = State::new(now);
        let effects = [Effect::BeginStart {
            epoch: state.placement().epoch,
        }];
        let mut row = WorkspaceRow {
            id: WorkspaceId::new(self.world.id()),
            organization: caller.user.organization.clone(),
            owner: caller.user.id.clone(),
            name: base.clone(),
            generation: 1,
            state,
            detail: String::new(),
            // Where the disk is that it begins with.
            host: beginning
                .as_ref()
                .and_then(|beginning| beginning.host.clone()),
            observed: None,
            repository: match (&beginning, remote) {
                (Some(beginning), _) => beginning.repository.clone(),
                (None, Some(remote)) => Some(Repository {
                    url: remote.given.clone(),
                    branch,
                    folder: remote.folder(),
                }),
                (None, None) => None,
            },
            origin: beginning.map(|beginning| beginning.origin),
            size,
            labels: create.labels.clone(),
            tags,
            report: None,
            needs_credentials: None,
            created_ms: now,
            changed_ms: now,
            used_ms: None,
        };
        let one = self.growing().await;
        // The same request again makes nothing new.
        if !self.was_made(caller, key.as_ref()).await? {
            let more = Amount {
                workspaces: 1,
                logical: size.disk_gib << 30,
                stored: 0,
            };
            self.check_quota(caller, more).await?;
        }
        loop {
            row.name = match &asked {
                Some(name) => name.clone(),
                None => self.free_name(&base).await?,
            };
            match self
                .store
                .create_workspace(&row, key.as_ref(), &effects)
                .await?
            {
                Created::Done => break,
                Created::Before(id) => return self.made_before(&id).await,
                Created::KeyReused => {
                    let detail = "This Idempotency-Key was used for a request with another body. Make a new key for every new request.";
                    return Err(Fault::new(Kind::IdempotencyKeyReused, detail));
                }
                Created::NameTaken => {
                    if let Some(name) = asked {
                        let free = self.free_name(&name).await?;
                        return Err(name_taken(name.as_str(), free.as_str()));
                    }
                }
            }
        }
        drop(one);
        self.tell(&row);
        self.inbox.changed(&row.id);
        self.store
            .record(
                &caller.user.id,
                "workspace.create",
                row.id.as_str(),
                row.name.as_str(),
                now,
            )
            .await?;
        Ok(row)
    }

    async fn was_made(&self, caller: &Caller, key: Option<&IdempotencyKey>) -> Outcome<bool> {
        Ok(match key {
            Some(key) => self.store.key_is_used(&caller.user.id, key).await?,
            None => false,
        })
    }

    async fn made_before(&self, id: &WorkspaceId) -> Outcome<WorkspaceRow> {
        self.store.workspace(id).await?.ok_or_else(|| {
            let detail =
                "The workspace that this Idempotency-Key made has been deleted. Make a new key.";
            Fault::new(Kind::NotFound, detail)
        })
    }

    pub async fn update(
        &self,
        caller: &Caller,
        name_or_id: &str,
        update: &UpdateWorkspace,
    ) -> Outcome<WorkspaceRow> {
        let row = self.own(caller, name_or_id).await?;
        let name = update
            .name
            .as_deref()
            .map(|name| WorkspaceName::parse(name).map_err(|error| invalid_name(name, error)))
            .transpose()?;
        if let Some(labels) = &update.labels {
            check_labels(labels)?;
        }
        let tags = update.tags.as_deref().map(check_tags).transpose()?;
        if let Some(size) = update.size {
            self.check_size(size).await?;
            if size.disk_gib < row.size.disk_gib {
                let detail = format!(
                    "The disk has {} GiB, and a disk does not shrink.",
                    row.size.disk_gib
                );
                return Err(Problem::new(Kind::InvalidField, detail)
                    .field("size.disk_gib")
                    .suggestion(row.size.disk_gib.to_string())
                    .into());
            }
        }
        let asked = update.size.map_or(0, |size| size.disk_gib);
        let more = asked.saturating_sub(row.size.disk_gib) << 30;
        let _one = if more > 0 {
            let one = self.growing().await;
            let more = Amount {
                logical: more,
                ..Amount::default()
            };
            self.check_quota(caller, more).await?;
            one
        } else {
            None
        };
        let changed = self
            .change(&row.id, |row, _| {
                if let Some(name) = &name {
                    row.name = name.clone();
                }
                if let Some(labels) = &update.labels {
                    row.labels = labels.clone();
                }
                if let Some(tags) = &tags {
                    row.tags = tags.clone();
                }
                if let Some(size) = update.size {
                    row.size = size;
                }
                Ok(Vec::new())
            })
            .await?
            .ok_or_else(|| Fault::no_workspace(name_or_id))?;
        if changed.size.disk_gib > row.size.disk_gib {
            self.grow_disk(&changed).await;
        }
        let (now, id) = (self.world.now_ms(), changed.id.as_str());
        self.store
            .record(
                &caller.user.id,
                "workspace.update",
                id,
                changed.name.as_str(),
                now,
            )
            .await?;
        Ok(changed)
    }

    /// At once where it runs; otherwise, and where that is not possible, with the next start.
    async fn grow_disk(&self, row: &WorkspaceRow) {
        let State::Running { .. } = row.state else {
            return;
        };
        let host = row.host.as_deref().and_then(|host| self.hosts.get(host));
        let Some(host) = host else { return };
        if let Err(error) = host.grow_disk(&row.id, row.size.disk_gib).await {
            tracing::warn!(workspace = %row.id, %error, "the disk grows with the next start only");
        }
    }

    pub async fn start(&self, user: &UserId, id: &WorkspaceId) -> Outcome<WorkspaceRow> {
        self.ask(user, id, &Event::Start, "workspace.start").await
    }

    pub async fn stop(&self, user: &UserId, id: &WorkspaceId) -> Outcome<WorkspaceRow> {
        self.ask(user, id, &Event::Stop, "workspace.stop").await
    }

    /// Saves what somebody wants of a workspace; the reconciler does the rest.
    pub async fn ask(
        &self,
        user: &UserId,
        id: &WorkspaceId,
        event: &Event,
        action: &str,
    ) -> Outcome<WorkspaceRow> {
        let row = self
            .change(id, |row, now| {
                let effects = advance(row, event, now)?;
                row.detail.clear();
                Ok(effects)
            })
            .await?
            .ok_or_else(|| Fault::no_workspace(id.as_str()))?;
        // First, as it waits for nothing.
        self.inbox.changed(id);
        self.store
            .record(
                user,
                action,
                id.as_str(),
                row.name.as_str(),
                self.world.now_ms(),
            )
            .await?;
        Ok(row)
    }

    /// Fetches the repository again, after credentials were given or the server is back.
    pub async fn retry_clone(&self, caller: &Caller, name_or_id: &str) -> Outcome<WorkspaceRow> {
        let row = self.own(caller, name_or_id).await?;
        if row.repository.is_none() {
            let detail = "This workspace has no repository to clone.";
            return Err(Fault::new(Kind::WrongState, detail));
        }
        let State::Running { .. } = row.state else {
            let detail = "A clone needs a running workspace: start it.";
            return Err(Fault::new(Kind::WrongState, detail));
        };
        let host = self.host_of(&row)?;
        self.change(&row.id, |row, _| {
            row.needs_credentials = None;
            Ok(Vec::new())
        })
        .await?;
        host.retry_clone(&row.id).await?;
        self.look(&row.id, host.as_ref()).await?;
        self.inbox.changed(&row.id);
        self.own(caller, name_or_id).await
    }

    /// Where the workspace is.
    pub(super) fn host_of(&self, row: &WorkspaceRow) -> Outcome<Arc<dyn Host>> {
        let Some(host) = &row.host else {
            let detail = "The workspace has no disk yet. Start it once.";
            return Err(Fault::new(Kind::WrongState, detail));
        };
        self.hosts.get(host).ok_or_else(no_host)
    }

    /// A free name close to `base`.
    pub async fn free_name(&self, base: &WorkspaceName) -> Outcome<WorkspaceName> {
        if self.store.name_is_free(base).await? {
            return Ok(base.clone());
        }
        let stem: String = base
            .as_str()
            .chars()
            .take(model::name::MAX_NAME - 5)
            .collect();
        for number in 2..10 {
            let name = WorkspaceName::suggest(&format!("{}-{number}", stem.trim_end_matches('-')));
            if self.store.name_is_free(&name).await? {
                return Ok(name);
            }
        }
        loop {
            let [a, b] = self.world.random::<2>();
            let name =
                WorkspaceName::suggest(&format!("{}-{a:02x}{b:02x}", stem.trim_end_matches('-')));
            if self.store.name_is_free(&name).await? {
                return Ok(name);
            }
        }
    }

    pub(super) async fn check_size(&self, size: Size) -> Outcome<()> {
        self.settings.limits.check(size)?;
        let mut largest = None;
        for (_, host) in self.hosts.all() {
            largest = largest.max(Some(host.describe().await.memory_mib));
        }
        match largest {
            Some(most) if most < size.memory_mib => {
                let detail = format!(
                    "No host has {} MiB of memory; the largest has {most} MiB.",
                    size.memory_mib
                );
                Err(Problem::new(Kind::SizeOverLimit, detail)
                    .field("size.memory_mib")
                    .into())
            }
            Some(_) | None => Ok(()),
        }
    }

    fn idempotency_key(&self, key: &str, create: &CreateWorkspace) -> Outcome<IdempotencyKey> {
        let plain = key.bytes().all(|byte| byte.is_ascii_graphic());
        if key.is_empty() || key.len() > 255 || !plain {
            let detail = "An Idempotency-Key has 1 to 255 visible ASCII characters.";
            return Err(Fault::new(Kind::InvalidRequest, detail));
        }
        let body = serde_json::to_vec(create).expect("plain data is always JSON");
        let request_hash = hex::encode(digest(&SHA256, &body));
        Ok(IdempotencyKey {
            key: key.into(),
            request_hash,
        })
    }
}

pub fn no_host() -> Fault {
    Fault::new(
        Kind::NoHost,
        "The host of this workspace is not there at the moment. Try again in a minute.",
    )
}

/// A disk never shrinks.
fn check_disk_size(size: Size, bytes: u64) -> Outcome<()> {
    let least = bytes.div_ceil(1 << 30);
    if size.disk_gib >= least {
        return Ok(());
    }
    let detail =
        format!("The disk that it begins with has {least} GiB, and a disk does not shrink.");
    Err(Problem::new(Kind::InvalidField, detail)
        .field("size.disk_gib")
        .suggestion(least.to_string())
        .into())
}

/// What git takes for the name of a branch, and nothing that it would take for an option.
fn check_branch(text: &str) -> Outcome<String> {
    let branch = text.trim();
    let plain = |character: char| {
        !character.is_whitespace() && !character.is_control() && !"~^:?*[\\".contains(character)
    };
    let good = !branch.is_empty()
        && branch.len() <= 250
        && branch.chars().all(plain)
        && !branch.starts_with(['-', '/', '.'])
        && !branch.ends_with(['/', '.'])
        && !branch.ends_with(".lock")
        && !branch.contains("..")
        && !branch.contains("//")
        && !branch.contains("@{");
    if good {
        return Ok(branch.into());
    }
    let detail =
        format!("{text:?} is no name of a branch or tag. Leave it empty for the default branch.");
    Err(Problem::new(Kind::InvalidField, detail)
        .field("branch")
        .into())
}

fn check_labels(labels: &BTreeMap<String, String>) -> Outcome<()> {
    let plain = |text: &str| text.len() <= MAX_LABEL && !text.chars().any(char::is_control);
    let good = labels.len() <= MAX_LABELS
        && labels.iter().all(|(key, value)| {
            !key.is_empty() && plain(key) && plain(value) && !key.contains(['=', ','])
        });
    if good {
        return Ok(());
    }
    let detail = format!(
        "There can be {MAX_LABELS} labels, keys and values of one line of at most {MAX_LABEL} bytes, keys without = and comma."
    );
    Err(Problem::new(Kind::InvalidField, detail)
        .field("labels")
        .into())
}

fn check_tags(tags: &[String]) -> Outcome<Vec<String>> {
    let mut clean: Vec<String> = Vec::new();
    for tag in tags.iter().map(|tag| tag.trim()) {
        let plain = !tag.is_empty() && tag.len() <= MAX_LABEL && !tag.chars().any(char::is_control);
        if !plain || clean.len() >= MAX_LABELS {
            let detail = format!(
                "There can be {MAX_LABELS} tags, each of one line of at most {MAX_LABEL} bytes."
            );
            return Err(Problem::new(Kind::InvalidField, detail)
                .field("tags")
                .into());
        }
        if !clean.iter().any(|known| known == tag) {
            clean.push(tag.into());
        }
    }
    Ok(clean)
}
