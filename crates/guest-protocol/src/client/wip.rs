//! Uncommitted work that the guest saves beside the branches: saving, listing, restoring, carrying away.

use tokio::io::AsyncRead;

use super::files::upload;
use super::{Answer, Download, Error, Request, Session};
use crate::frames::{
    WipBundle, WipBundled, WipList, WipRestore, WipRestored, WipSave, WipUnbundle, wip_listing,
    wip_saved,
};

/// Of a guest that goes on and on, no more is taken.
const MOST_REPOSITORIES: usize = 2_000;

impl Session {
    /// Saves uncommitted work now; each repository tells how it went.
    pub async fn wip_save(&self, request: WipSave) -> Result<Vec<wip_saved::Repository>, Error> {
        let mut call = self.call(Request::WipSave(request))?;
        let mut repositories = Vec::new();
        loop {
            match call.next().await? {
                Some(Answer::WipSaved(saved)) if repositories.len() < MOST_REPOSITORIES => {
                    repositories.extend(saved.repositories);
                    if !saved.more {
                        call.finish();
                        return Ok(repositories);
                    }
                }
                _ => return Err(Error::Unexpected("saving work in progress")),
            }
        }
    }

    /// What has been saved, of the repository at `path`, or with an empty `path` of all.
    pub async fn wip_list(&self, path: &str) -> Result<Vec<wip_listing::Repository>, Error> {
        let mut call = self.call(Request::WipList(WipList { path: path.into() }))?;
        let mut repositories = Vec::new();
        loop {
            match call.next().await? {
                Some(Answer::WipListing(listing)) if repositories.len() < MOST_REPOSITORIES => {
                    repositories.extend(listing.repositories);
                    if !listing.more {
                        call.finish();
                        return Ok(repositories);
                    }
                }
                _ => return Err(Error::Unexpected("listing work in progress")),
            }
        }
    }

    /// Makes the working tree as it was saved; what is there now is saved before.
    pub async fn wip_restore(&self, path: &str, reference: &str) -> Result<WipRestored, Error> {
        let request = WipRestore {
            path: path.into(),
            reference: reference.into(),
        };
        self.ask(
            Request::WipRestore(request),
            "restoring work in progress",
            |answer| match answer {
                Answer::WipRestored(restored) => Some(restored),
                _ => None,
            },
        )
        .await
    }

    /// A git bundle of what was saved. It is whole only when the download has come to its end without an error.
    pub async fn wip_bundle(&self, request: WipBundle) -> Result<(WipBundled, Download), Error> {
        let mut call = self.call(Request::WipBundle(request))?;
        match call.next().await? {
            Some(Answer::WipBundled(bundled)) => Ok((bundled, Download::of(call))),
            _ => Err(Error::Unexpected("bundling work in progress")),
        }
    }

    /// Takes a bundle into the repository at `path`; gives the references that can be restored there.
    pub async fn wip_unbundle(
        &self,
        path: &str,
        bundle: impl AsyncRead + Unpin,
    ) -> Result<Vec<String>, Error> {
        let mut call = self.call(Request::WipUnbundle(WipUnbundle { path: path.into() }))?;
        upload(&mut call, bundle).await?;
        let answer = call.next().await?;
        call.finish();
        match answer {
            Some(Answer::WipUnbundled(unbundled)) => Ok(unbundled.references),
            _ => Err(Error::Unexpected("unbundling work in progress")),
        }
    }
}
