//! Content of a file as a stream, from any offset.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use guest_protocol::frames::{FileInfo, FileRead, data};

use super::{attempt, checked_path, info};
use crate::machine::Machine;
use crate::session::{Answer, Call, CallError, During, Outcome};
use crate::user::User;

pub async fn read(machine: &'static Machine, call: Call, request: FileRead) -> Outcome {
    let path = checked_path(&request.path)?;
    let user = &machine.user;
    let piece = call.output.largest_data();
    let end = if request.length == 0 {
        u64::MAX
    } else {
        request.offset.saturating_add(request.length)
    };
    let opened = path.clone();
    let (info, file, first) = machine
        .threads
        .run(move || {
            let (info, file) = open(user, &opened)?;
            let first = read_piece(&file, request.offset, end, piece)
                .during(attempt("reading", &opened))?;
            Ok((info, file, first))
        })
        .await?;
    call.answer(Answer::FileInfo(info)).await?;
    let mut offset = request.offset;
    let mut bytes = first;
    loop {
        let next = offset + bytes.len() as u64;
        if bytes.is_empty() || next >= end {
            return call
                .output
                .data(data::Channel::Main, offset, bytes, true)
                .await;
        }
        // The next piece is read while this one is sent.
        let (file, path) = (file.clone(), path.clone());
        let reading = machine
            .threads
            .run(move || read_piece(&file, next, end, piece).during(attempt("reading", &path)));
        let sending = call.output.data(data::Channel::Main, offset, bytes, false);
        let (read, sent) = tokio::join!(reading, sending);
        sent?;
        (offset, bytes) = (next, read?);
    }
}

fn open(user: &User, path: &Path) -> Result<(FileInfo, Arc<File>), CallError> {
    // Not blocking: a pipe without a writer would hold the thread for ever.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
        .during(attempt("opening", path))?;
    let metadata = file.metadata().during(attempt("looking at", path))?;
    if metadata.is_dir() {
        let error = io::Error::from(io::ErrorKind::IsADirectory);
        return Err(CallError::system(attempt("reading", path)(), &error));
    }
    if !metadata.is_file() {
        return Err(CallError::invalid(format!(
            "{} is not an ordinary file",
            path.display()
        )));
    }
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    let mut info = info::describe(user, path, &metadata, true, name.unwrap_or_default());
    info.symlink = std::fs::symlink_metadata(path).is_ok_and(|own| own.is_symlink());
    Ok((info, Arc::new(file)))
}

/// Empty at the end.
fn read_piece(file: &File, offset: u64, end: u64, most: usize) -> io::Result<Bytes> {
    let wanted = most.min(usize::try_from(end.saturating_sub(offset)).unwrap_or(most));
    let mut piece = vec![0; wanted];
    let mut filled = 0;
    while filled < wanted {
        match file.read_at(&mut piece[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    piece.truncate(filled);
    Ok(piece.into())
}
