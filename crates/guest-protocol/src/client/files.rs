//! Files in the guest: information, content as streams, changes.

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::{Answer, Call, Error, Request, Session};
use crate::frames::{
    Data, FileArchive, FileCopy, FileExtract, FileInfo, FileLink, FileList, FileMakeDirectory,
    FileRead, FileRemove, FileRename, FileStat, FileWrite,
};

/// Pieces in which local content is read for sending, bytes.
const PIECE: usize = 64 * 1024;

/// Bytes that arrive from the guest, piece by piece.
#[derive(Debug)]
pub struct Download {
    call: Call,
    info: Option<FileInfo>,
    ended: bool,
}

impl Download {
    /// Of a call whose next answers are data.
    pub(super) fn of(call: Call) -> Self {
        Self {
            call,
            info: None,
            ended: false,
        }
    }

    /// Of the file that is read; archives and bundles have none.
    pub fn info(&self) -> Option<&FileInfo> {
        self.info.as_ref()
    }

    /// The next piece; `None` after the last.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            if self.ended {
                return Ok(None);
            }
            match self.call.next().await? {
                Some(Answer::Data(Data { bytes, end, .. })) => {
                    if end {
                        self.ended = true;
                        self.call.finish();
                    }
                    if !bytes.is_empty() {
                        return Ok(Some(bytes));
                    }
                }
                Some(_) => {}
                None => return Err(Error::Unexpected("a download")),
            }
        }
    }

    /// Everything at once, for what is known to be small.
    pub async fn collect(mut self) -> Result<Vec<u8>, Error> {
        let mut whole = Vec::new();
        while let Some(piece) = self.next().await? {
            whole.extend_from_slice(&piece);
        }
        Ok(whole)
    }
}

impl Session {
    /// Information on a file or folder; symbolic links are followed.
    pub async fn stat(&self, path: &str) -> Result<FileInfo, Error> {
        let request = FileStat {
            path: path.into(),
            no_follow: false,
        };
        self.ask(Request::FileStat(request), "stat", |answer| match answer {
            Answer::FileInfo(info) => Some(info),
            _ => None,
        })
        .await
    }

    /// The same of the name itself: a symbolic link is not followed.
    pub async fn stat_link(&self, path: &str) -> Result<FileInfo, Error> {
        let request = FileStat {
            path: path.into(),
            no_follow: true,
        };
        self.ask(Request::FileStat(request), "stat", |answer| match answer {
            Answer::FileInfo(info) => Some(info),
            _ => None,
        })
        .await
    }

    /// The entries of a folder.
    pub async fn list(&self, path: &str) -> Result<Vec<FileInfo>, Error> {
        let mut call = self.call(Request::FileList(FileList { path: path.into() }))?;
        let mut entries = Vec::new();
        loop {
            match call.next().await? {
                Some(Answer::FileListing(listing)) => {
                    entries.extend(listing.entries);
                    if !listing.more {
                        call.finish();
                        return Ok(entries);
                    }
                }
                _ => return Err(Error::Unexpected("list")),
            }
        }
    }

    /// Content of a file, from `offset`, at most `length` bytes (0: to the end).
    pub async fn read_file(&self, path: &str, offset: u64, length: u64) -> Result<Download, Error> {
        let request = FileRead {
            path: path.into(),
            offset,
            length,
        };
        let mut call = self.call(Request::FileRead(request))?;
        match call.next().await? {
            Some(Answer::FileInfo(info)) => Ok(Download {
                call,
                info: Some(info),
                ended: false,
            }),
            _ => Err(Error::Unexpected("read")),
        }
    }

    /// A folder as tar.gz, or as zip.
    pub fn archive(&self, path: &str, zip: bool) -> Result<Download, Error> {
        let call = self.call(Request::FileArchive(FileArchive {
            path: path.into(),
            zip,
        }))?;
        Ok(Download::of(call))
    }

    /// Writes a whole file, or the part of one that `request` names; it appears at once when all of it has
    /// arrived.
    pub async fn write_file(
        &self,
        request: FileWrite,
        content: impl AsyncRead + Unpin,
    ) -> Result<FileInfo, Error> {
        let mut call = self.call(Request::FileWrite(request))?;
        upload(&mut call, content).await?;
        let answer = call.next().await?;
        call.finish();
        match answer {
            Some(Answer::FileWritten(written)) => written.info.ok_or(Error::Unexpected("write")),
            _ => Err(Error::Unexpected("write")),
        }
    }

    /// Writes a small file, whether it was there or not.
    pub async fn put_file(&self, path: &str, content: &[u8]) -> Result<FileInfo, Error> {
        let request = FileWrite {
            path: path.into(),
            create: true,
            overwrite: true,
            ..FileWrite::default()
        };
        self.write_file(request, content).await
    }

    /// Unpacks a tar stream below a folder.
    pub async fn extract(&self, path: &str, tar: impl AsyncRead + Unpin) -> Result<(), Error> {
        let mut call = self.call(Request::FileExtract(FileExtract { path: path.into() }))?;
        upload(&mut call, tar).await?;
        match call.next().await? {
            None => Ok(()),
            Some(_) => Err(Error::Unexpected("extract")),
        }
    }

    /// Makes a folder; with `parents` those above it too, and one that is there is fine.
    pub async fn make_directory(&self, path: &str, parents: bool) -> Result<(), Error> {
        let request = FileMakeDirectory {
            path: path.into(),
            parents,
        };
        self.command(Request::FileMakeDirectory(request), "make directory")
            .await
    }

    /// Makes a symbolic link in the place of a file or link of this name, if there is one.
    pub async fn link(&self, path: &str, target: &str) -> Result<(), Error> {
        let request = FileLink {
            path: path.into(),
            target: target.into(),
            overwrite: true,
        };
        self.command(Request::FileLink(request), "link").await
    }

    pub async fn rename(&self, from: &str, to: &str, overwrite: bool) -> Result<(), Error> {
        let request = FileRename {
            from: from.into(),
            to: to.into(),
            overwrite,
        };
        self.command(Request::FileRename(request), "rename").await
    }

    pub async fn copy(&self, from: &str, to: &str, overwrite: bool) -> Result<(), Error> {
        let request = FileCopy {
            from: from.into(),
            to: to.into(),
            overwrite,
        };
        self.command(Request::FileCopy(request), "copy").await
    }

    pub async fn remove(&self, path: &str, recursive: bool) -> Result<(), Error> {
        let request = FileRemove {
            path: path.into(),
            recursive,
        };
        self.command(Request::FileRemove(request), "remove").await
    }
}

/// Sends all of `content` on the call. When the guest ends the call meanwhile, its reason is the error.
pub(super) async fn upload(
    call: &mut Call,
    mut content: impl AsyncRead + Unpin,
) -> Result<(), Error> {
    let mut writer = call.writer();
    let sent = async {
        loop {
            let mut piece = bytes::BytesMut::with_capacity(PIECE);
            match content.read_buf(&mut piece).await {
                Ok(0) => return writer.end().await.map(|()| None),
                Ok(_) => writer.write(piece).await?,
                Err(error) => return Ok(Some(error)),
            }
        }
    };
    match sent.await {
        Ok(None) => Ok(()),
        Ok(Some(error)) => {
            let message = format!("what should be sent could not be read: {error}");
            Err(Error::Failed {
                kind: crate::frames::failure::Kind::Invalid,
                message,
            })
        }
        // The credit was closed because the call ended: the answer says why.
        Err(closed) => Err(call.next().await.err().unwrap_or(closed)),
    }
}
