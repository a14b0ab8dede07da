//! Saved commits as bundles: out of the machine, and into a clone.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use bytes::BytesMut;
use guest_protocol::frames::{WipBundle, WipBundled, WipUnbundle, WipUnbundled, data, failure};
use tokio::io::AsyncReadExt;

use super::repository::Repository;
use super::saved;
use super::scratch::Scratch;
use crate::files::checked_path;
use crate::git::command::GitError;
use crate::machine::Machine;
use crate::session::{Answer, Call, CallError, During, Outcome};

/// Unless the client says otherwise, bytes.
const MAX_BUNDLE: u64 = 256 * 1024 * 1024;
/// Of what a client may send, bytes.
const MAX_RECEIVED: u64 = 1024 * 1024 * 1024;
/// For the next bytes.
const PATIENCE: Duration = Duration::from_secs(60);

pub async fn bundle(machine: &'static Machine, call: Call, request: WipBundle) -> Outcome {
    let path = checked_path(&request.path)?;
    let repository = Repository::open(machine, &path, false).await?;
    let saved = if request.reference.is_empty() {
        let newest = repository.saved().await?.into_iter().next();
        newest.ok_or_else(|| CallError::not_found("nothing has been saved of this repository"))?
    } else {
        repository.find(&request.reference).await?
    };
    let most = match request.max_bytes {
        0 => MAX_BUNDLE,
        bytes => bytes,
    };
    let mut arguments = vec!["bundle", "create", "-q", "-", &saved.reference];
    if !request.whole {
        arguments.extend(["--not", "--remotes"]);
    }
    let mut running = repository.git.stream(&arguments).await?;
    call.answer(Answer::WipBundled(WipBundled {
        reference: saved.reference.clone(),
        commit: saved.commit,
    }))
    .await?;
    let mut offset = 0;
    loop {
        let mut piece = BytesMut::with_capacity(call.output.largest_data());
        let read = tokio::time::timeout(PATIENCE, running.answer.read_buf(&mut piece));
        let size = read
            .await
            .map_err(|_| CallError::busy("git does not go on with the bundle"))?
            .during(|| "reading what git has bundled".into())? as u64;
        if size == 0 {
            break;
        }
        if offset + size > most {
            let message = format!("the bundle is larger than {most} bytes");
            return Err(CallError::failed(failure::Kind::NoSpace, message));
        }
        call.output
            .data(data::Channel::Main, offset, piece.freeze(), false)
            .await?;
        offset += size;
    }
    running.wait().await?;
    let end = BytesMut::new().freeze();
    call.output
        .data(data::Channel::Main, offset, end, true)
        .await
}

pub async fn unbundle(machine: &'static Machine, mut call: Call, request: WipUnbundle) -> Outcome {
    let path = checked_path(&request.path)?;
    let repository = Repository::open(machine, &path, false).await?;
    let scratch = Scratch::new(machine).await?;
    let file = scratch.path("bundle");
    receive(machine, &mut call, &file).await?;
    let Some(_turn) = machine.wip.turn(&repository.root).await else {
        return Err(CallError::broken());
    };
    let references = take(&repository, &file).await?;
    call.answer(Answer::WipUnbundled(WipUnbundled { references }))
        .await
}

async fn receive(machine: &'static Machine, call: &mut Call, path: &Path) -> Result<(), CallError> {
    let writing = || "writing the bundle".to_owned();
    let to = path.to_owned();
    let made = move || File::create_new(to).during(writing);
    let mut file = machine.threads.run(made).await?;
    let mut received = 0;
    loop {
        let piece = call.input.next().await.ok_or(CallError::Gone)?;
        received += piece.bytes.len() as u64;
        if received > MAX_RECEIVED {
            let message = format!("a bundle of more than {MAX_RECEIVED} bytes is not taken");
            return Err(CallError::failed(failure::Kind::NoSpace, message));
        }
        file = machine
            .threads
            .run(move || {
                let written: io::Result<()> = file.write_all(&piece.bytes);
                written.during(writing)?;
                Ok(file)
            })
            .await?;
        if piece.end {
            return Ok(());
        }
    }
}

/// Takes the objects, then the references that are ours. Others of the bundle are left out.
async fn take(repository: &Repository, file: &Path) -> Result<Vec<String>, CallError> {
    let git = &repository.git;
    let heads = match git
        .ask(&["bundle", "unbundle", &file.to_string_lossy()])
        .await
    {
        Ok(heads) => String::from_utf8_lossy(&heads).into_owned(),
        Err(GitError::Failed { complaint, .. }) => {
            let kind = if complaint.contains("prerequisite") {
                failure::Kind::Conflict
            } else {
                failure::Kind::Invalid
            };
            return Err(CallError::failed(
                kind,
                format!("the bundle cannot be taken: {complaint}"),
            ));
        }
        Err(error) => return Err(error.into()),
    };
    let known = repository.saved().await?;
    let (mut references, mut create) = (Vec::new(), String::new());
    for (commit, reference) in heads.lines().filter_map(|line| line.split_once(' ')) {
        if !saved::is_reference(reference) {
            continue;
        }
        match known.iter().find(|saved| saved.reference == reference) {
            Some(saved) if saved.commit == commit => {}
            Some(_) => {
                let message = format!("{reference} is another commit here");
                return Err(CallError::failed(failure::Kind::Conflict, message));
            }
            None => {
                // That nothing which it needs is missing.
                let commit = format!("{commit}^{{commit}}");
                git.ask(&[
                    "rev-list",
                    "--objects",
                    "--quiet",
                    &commit,
                    "--not",
                    "--all",
                ])
                .await?;
                create.push_str(&format!("create {reference} {commit}\n"));
            }
        }
        references.push(reference.to_owned());
    }
    if references.is_empty() {
        return Err(CallError::invalid("the bundle holds no work in progress"));
    }
    git.feed(&["update-ref", "--stdin"], create.as_bytes())
        .await?;
    Ok(references)
}
