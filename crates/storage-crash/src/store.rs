//! A store whose calls fail in every way that a store's calls do.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    Attributes, CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult,
    MultipartUpload, ObjectMeta, ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload,
    PutResult, Result,
};

use storage::disk::Clock;

use crate::chance::{Chance, Time};
use crate::faults::{Fault, Faults};

/// A store that outlives the hosts that use it. Every host sees it with its own faults.
#[derive(Clone, Debug)]
pub struct SimStore {
    chance: Chance,
    faults: Faults,
    time: Arc<Time>,
    objects: Arc<Mutex<BTreeMap<Path, (Bytes, u64)>>>,
}

impl fmt::Display for SimStore {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("simulated store")
    }
}

fn kind(path: &Path) -> &'static str {
    let mut parts = path.parts().skip(1);
    match parts.next().as_ref().map(|part| part.as_ref()) {
        Some("packs") => "pack",
        Some("indexes") => "index",
        Some("disks") => "manifest",
        Some("notes") => "note",
        _ => "other",
    }
}

fn down(what: &str) -> Error {
    Error::Generic {
        store: "simulated",
        source: what.to_owned().into(),
    }
}

impl SimStore {
    pub fn new(chance: Chance, faults: Faults, time: Arc<Time>) -> Self {
        Self {
            chance,
            faults,
            time,
            objects: Arc::default(),
        }
    }

    /// The same objects, seen by another host.
    pub fn for_host(&self, faults: Faults) -> Self {
        Self {
            faults,
            ..self.clone()
        }
    }

    fn objects(&self) -> MutexGuard<'_, BTreeMap<Path, (Bytes, u64)>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn meta(path: &Path, (bytes, modified_ms): &(Bytes, u64)) -> ObjectMeta {
        let epoch = std::time::UNIX_EPOCH + std::time::Duration::from_millis(*modified_ms);
        ObjectMeta {
            location: path.clone(),
            last_modified: epoch.into(),
            size: bytes.len() as u64,
            e_tag: None,
            version: None,
        }
    }
}

#[async_trait]
impl ObjectStore for SimStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let fault = self.faults.at(("put", kind(location)));
        match fault {
            Some(Fault::Refused) => return Err(down("refused")),
            Some(Fault::Kill | Fault::PowerCut) if self.chance.one_in(2) => {
                return Err(down("the process is gone"));
            }
            _ => {}
        }
        let mut objects = self.objects();
        if matches!(options.mode, PutMode::Create) && objects.contains_key(location) {
            return Err(Error::AlreadyExists {
                path: location.to_string(),
                source: "it is there".into(),
            });
        }
        objects.insert(location.clone(), (payload.into(), self.time.now_ms()));
        match fault {
            None => Ok(PutResult {
                e_tag: None,
                version: None,
                extensions: Default::default(),
            }),
            Some(_) => Err(down("timed out")),
        }
    }

    async fn put_multipart_opts(
        &self,
        _location: &Path,
        _options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        Err(Error::NotImplemented {
            operation: "multipart".to_owned(),
            implementer: "simulated store".to_owned(),
        })
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let step = if options.head { "head" } else { "get" };
        let fault = self.faults.at((step, kind(location)));
        match fault {
            Some(Fault::WrongBytes) | None => {}
            Some(Fault::Kill | Fault::PowerCut) => return Err(down("the process is gone")),
            Some(_) => return Err(down("timed out")),
        }
        let found = self.objects().get(location).cloned();
        let found = found.ok_or_else(|| Error::NotFound {
            path: location.to_string(),
            source: "it is not there".into(),
        })?;
        let meta = Self::meta(location, &found);
        let (bytes, _) = found;
        let range = match &options.range {
            Some(range) => range
                .as_range(meta.size)
                .map_err(|error| down(&error.to_string()))?,
            None => 0..meta.size,
        };
        let mut part = bytes
            .slice(range.start as usize..range.end as usize)
            .to_vec();
        if fault.is_some() && !part.is_empty() {
            let at = self.chance.below(part.len() as u64) as usize;
            part[at] ^= 1 << self.chance.below(8);
        }
        let stream = futures::stream::once(async move { Ok(Bytes::from(part)) });
        Ok(GetResult {
            payload: GetResultPayload::Stream(stream.boxed()),
            meta,
            range,
            attributes: Attributes::default(),
            extensions: Default::default(),
        })
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        locations
            .map(move |location| {
                let location = location?;
                let fault = store.faults.at(("delete", kind(&location)));
                match fault {
                    Some(Fault::Refused) => return Err(down("refused")),
                    Some(Fault::Kill | Fault::PowerCut) if store.chance.one_in(2) => {
                        return Err(down("the process is gone"));
                    }
                    _ => {}
                }
                store.objects().remove(&location);
                match fault {
                    None => Ok(location),
                    Some(_) => Err(down("timed out")),
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let what = prefix.map_or("other", kind);
        if self.faults.at(("list", what)).is_some() {
            return futures::stream::once(async { Err(down("timed out")) }).boxed();
        }
        let prefix = prefix.cloned().unwrap_or_default();
        let found: Vec<Result<ObjectMeta>> = self
            .objects()
            .iter()
            .filter(|(path, _)| path.prefix_matches(&prefix))
            .map(|(path, found)| Ok(Self::meta(path, found)))
            .collect();
        futures::stream::iter(found).boxed()
    }

    async fn list_with_delimiter(&self, _prefix: Option<&Path>) -> Result<ListResult> {
        Err(Error::NotImplemented {
            operation: "list_with_delimiter".to_owned(),
            implementer: "simulated store".to_owned(),
        })
    }

    async fn copy_opts(&self, _from: &Path, _to: &Path, _options: CopyOptions) -> Result<()> {
        Err(Error::NotImplemented {
            operation: "copy".to_owned(),
            implementer: "simulated store".to_owned(),
        })
    }
}
