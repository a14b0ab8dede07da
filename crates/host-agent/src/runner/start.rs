//! From a spec to a configured guest, step by step. A step that fails, or takes too long, says whose fault
//! it is; what was made by then is cleared away.

use std::future::Future;
use std::time::{Duration, Instant};

use fleet_api::host::{Accelerator, FailureKind, RunSpec, StartFailure};
use guest_protocol::frames::{Configure, Configured};
use microvm::spec::{
    DiskSource, DriverSpec, Jail, MACHINE, NetworkSpec, ProcessSpec, QemuSpec, VmSpec,
};
use monitor_protocol::messages::VmStatus;
use monitor_protocol::messages::vm_status::Phase;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use vm_monitor::MonitorSpec;

use crate::config::Driver;
use crate::failure::{chain, disk_kind, failure};
use crate::folders::short;
use crate::network::{Network, NetworkError, script};
use crate::runner::context::Context;
use crate::runner::disk::{self, Disk, Preparation, Resting};
use crate::runner::end;
use crate::runner::guest;
use crate::runner::steps::{Step, Teller, now_ms};
use crate::runner::watch::{Ended, Monitor};
use crate::{capacity, vmm_user};

/// A monitor listens within milliseconds; the disk may have to come from a slow store.
const MONITOR_ANSWERS_WITHIN: Duration = Duration::from_secs(90);
const CONFIGURES_WITHIN: Duration = Duration::from_secs(60);
/// Of the console, in a failure.
const GIB: f64 = (1u64 << 30) as f64;
const CONSOLE_BYTES: u64 = 8 * 1024;

/// How a start came out. In every case but `Up` nothing of it runs any more.
#[derive(Debug)]
pub enum Outcome {
    Up { configured: Configured },
    Failed(StartFailure),
    Cancelled,
}

/// Why a start goes no further.
enum Halt {
    Failed(StartFailure),
    Cancelled,
}

impl From<StartFailure> for Halt {
    fn from(failure: StartFailure) -> Self {
        Self::Failed(failure)
    }
}

/// One start.
pub struct Start<'a> {
    pub context: &'a Context,
    pub spec: &'a RunSpec,
    pub teller: &'a Teller,
    pub cancelled: &'a CancellationToken,
}

impl Start<'_> {
    /// Starts the machine. `adopted`: its monitor runs already, from before this host agent did.
    pub async fn run(&self, adopted: bool) -> Outcome {
        let halt = match self.steps(adopted).await {
            Ok(configured) => return Outcome::Up { configured },
            Err(halt) => halt,
        };
        let workspace = &self.spec.workspace;
        end::kill(self.context, workspace).await;
        end::clear(self.context, workspace).await;
        match halt {
            Halt::Failed(failure) => Outcome::Failed(failure),
            Halt::Cancelled => Outcome::Cancelled,
        }
    }

    async fn steps(&self, adopted: bool) -> Result<Configured, Halt> {
        let monitor = Monitor::new(&self.context.folders.monitor(&self.spec.workspace));
        if !adopted {
            self.launch(&monitor).await?;
        }
        let step = self.teller.begin("boot");
        let booted = self.boot(&monitor).await;
        self.finish(step, booted)?;
        let step = self.teller.begin("configure");
        let configured = self.configure(&monitor).await;
        let configured = self.finish(step, configured)?;
        self.disk_is_made().await;
        Ok(configured)
    }

    /// Ends the step; a cancelled one did not fail.
    fn finish<T>(&self, step: Step, outcome: Result<T, Halt>) -> Result<T, Halt> {
        match &outcome {
            Ok(_) => step.done(),
            Err(Halt::Failed(failure)) => step.failed(failure),
            Err(Halt::Cancelled) => {}
        }
        outcome
    }

    /// Disk and network side by side, then the monitor. Nothing here waits long, and nothing of it is
    /// dropped half-way: cancelling is looked at in between.
    async fn launch(&self, monitor: &Monitor) -> Result<(), Halt> {
        self.check_cancelled()?;
        // A monitor may still be there to tell of the last machine.
        end::kill(self.context, &self.spec.workspace).await;
        let (disk, network) = tokio::join!(self.disk(), self.network());
        let (disk, network) = (disk?, network?);
        self.check_cancelled()?;
        let step = self.teller.begin("vmm");
        let launched = async {
            let server = disk.as_ref().map(|disk| disk.server.clone());
            let spec = self.monitor_spec(disk, network).await?;
            let program = self.context.config.program.clone();
            let folder = monitor.folder.path().to_owned();
            let spawned =
                blocking(move || vm_monitor::spawn(&program, &folder, &spec, server.as_ref()));
            let spawned = spawned.await?;
            spawned.map_err(|error| {
                let text = format!("the machine's monitor cannot be started: {error}");
                failure(disk_kind(&error), text)
            })?;
            self.until(monitor, MONITOR_ANSWERS_WITHIN, |status| {
                status.phase() == Phase::Ready || status.steps.iter().any(|step| step.name == "vmm")
            })
            .await
        };
        let launched = launched.await;
        self.finish(step, launched)
    }

    fn check_cancelled(&self) -> Result<(), Halt> {
        if self.cancelled.is_cancelled() {
            Err(Halt::Cancelled)
        } else {
            Ok(())
        }
    }

    /// The disk of a virtual machine; the process driver needs a folder alone.
    async fn disk(&self) -> Result<Option<Disk>, StartFailure> {
        let mut step = self.teller.begin("disk");
        let context = self.context;
        // From here on nobody begins to work on it: it is not at rest any more.
        drop(context.at_rest.enter(&self.spec.workspace).await);
        let folder = context.folders.workspace(&self.spec.workspace);
        let reserve = context.config.room.disk_reserve_mib << 20;
        let (images, disks) = (context.images.clone(), context.disks.clone());
        let (run, folders) = (self.spec.clone(), context.folders.clone());
        let is_process = matches!(context.config.driver, Driver::Process { .. });
        let prepared = blocking(move || {
            let free = capacity::disk_free(&folder);
            if free < reserve {
                let text = format!(
                    "the host's disk is too full: {} MiB are free in the data folder, and {} MiB must stay \
                     free. Delete workspaces or files, or move the data folder to a larger disk",
                    free >> 20,
                    reserve >> 20
                );
                return (step, Err(failure(FailureKind::DiskFull, text)));
            }
            if is_process {
                if let Err(error) = std::fs::create_dir_all(folder.join("root")) {
                    let failure = failure(disk_kind(&error), error.to_string());
                    return (step, Err(failure));
                }
                return (step, Ok(None));
            }
            let mut progress = |done, of| convert_progress(&mut step, done, of);
            let prepared = Preparation {
                resting: Resting {
                    images: &images,
                    disks: &disks,
                    folder: &folder,
                    run: &run,
                },
                folder_of: &|other| folders.origin(other),
                progress: &mut progress,
            }
            .run();
            (step, prepared.map(Some))
        });
        let (step, prepared) = prepared.await?;
        step.end(prepared)
    }

    /// From now on its loss is noticed.
    async fn disk_is_made(&self) {
        let folder = self.context.folders.workspace(&self.spec.workspace);
        let noted = blocking(move || disk::made(&folder)).await;
        if let Ok(Err(error)) = noted {
            tracing::warn!(workspace = %self.spec.workspace, %error, "it is not noted that the disk is there");
        }
    }

    async fn network(&self) -> Result<Option<Network>, StartFailure> {
        let Some(networks) = &self.context.networks else {
            return Ok(None);
        };
        let step = self.teller.begin("network");
        let name = end::network_name(&self.spec.workspace);
        let made = networks.create(&name).await.map(Some).map_err(|error| {
            let text = match &error {
                NetworkError::Refused { .. } | NetworkError::File { .. } => {
                    format!("{}. roost doctor shows what this host lacks", chain(&error))
                }
                NetworkError::Program { .. } | NetworkError::PoolFull { .. } => chain(&error),
            };
            failure(FailureKind::NetworkSetup, text)
        });
        step.end(made)
    }

    async fn monitor_spec(
        &self,
        disk: Option<Disk>,
        network: Option<Network>,
    ) -> Result<MonitorSpec, StartFailure> {
        let (context, workspace, size) = (self.context, &self.spec.workspace, self.spec.size);
        let driver = match (&context.config.driver, disk) {
            (Driver::Process { agent }, _) => DriverSpec::Process(ProcessSpec {
                agent: agent.clone(),
                root_folder: context.folders.workspace(workspace).join("root"),
            }),
            (Driver::Qemu { .. }, Some(disk)) => DriverSpec::Qemu(self.qemu_spec(disk).await?),
            (Driver::Qemu { .. }, None) => {
                return Err(failure(FailureKind::Internal, "a machine without a disk"));
            }
        };
        let cgroups = match &context.cgroups {
            Some(cgroups) => cgroups
                .create(&short(workspace), size)
                .unwrap_or_else(|error| {
                    tracing::warn!(%workspace, %error, "the machine starts without limits");
                    Vec::new()
                }),
            None => Vec::new(),
        };
        let is_process = matches!(context.config.driver, Driver::Process { .. });
        let vm = VmSpec {
            machine: MACHINE,
            driver,
            vcpus: size.vcpus,
            memory_mib: size.memory_mib,
            network: match &network {
                Some(network) => NetworkSpec::Tap {
                    device: network.tap.clone(),
                },
                None => NetworkSpec::Isolated,
            },
            jail: Jail {
                user: vmm_user::of(workspace).filter(|_| !is_process),
                group: None,
                network_namespace: network.map(|network| network.namespace),
                cgroups,
            },
        };
        let mut spec = MonitorSpec::new(format!("{}-{}", self.spec.name, short(workspace)), vm);
        spec.relay_socket = Some(context.folders.relay(workspace));
        Ok(spec)
    }

    async fn qemu_spec(&self, disk: Disk) -> Result<QemuSpec, StartFailure> {
        let context = self.context;
        let files = context.images.files(&disk.images);
        let (vmm, machine) = context
            .machines
            .get(&context.config, context.folders.data(), &files)
            .await?;
        Ok(QemuSpec {
            vmm: vmm.folder,
            accelerator: machine.accelerator,
            cpu_model: machine.cpu_model,
            tsc_khz: Some(machine.tsc_khz),
            kernel: files.kernel,
            initramfs: files.initramfs,
            kernel_arguments: Vec::new(),
            disk: DiskSource::Served,
        })
    }

    async fn boot(&self, monitor: &Monitor) -> Result<(), Halt> {
        let deadline = match self.context.accelerator().await {
            Accelerator::Kvm => Duration::from_secs(60),
            Accelerator::Tcg => Duration::from_secs(180),
            Accelerator::Process => Duration::from_secs(30),
        };
        self.until(monitor, deadline, |status| status.phase() == Phase::Ready)
            .await
    }

    /// Waits until the machine's status is as wanted; its end, silence and the deadline are failures.
    async fn until(
        &self,
        monitor: &Monitor,
        deadline: Duration,
        wanted: impl Fn(&VmStatus) -> bool,
    ) -> Result<(), Halt> {
        let started = Instant::now();
        let mut paused = None;
        let mut reached = false;
        let waiting = async {
            loop {
                if let Ok(mut watch) = monitor.client.watch().await {
                    while let Ok(Some(status)) = watch.next().await {
                        reached = true;
                        match status.phase() {
                            Phase::Exited => return Err(Ended::of(&status)),
                            _ if wanted(&status) => return Ok(()),
                            Phase::Paused => paused = Some(status.detail),
                            _ => paused = None,
                        }
                    }
                }
                // A monitor that has just been started is not there yet.
                let gone = monitor.folder.monitor().is_none();
                if gone
                    && (reached || started.elapsed() > Duration::from_secs(2) || has_exit(monitor))
                {
                    return Err(monitor.ended());
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let outcome = tokio::select! {
            outcome = timeout(deadline, waiting) => outcome,
            () = self.cancelled.cancelled() => return Err(Halt::Cancelled),
        };
        let failure = match (outcome, paused) {
            (Ok(Ok(())), _) => return Ok(()),
            (Ok(Err(ended)), _) => {
                let mut failure = ended.failure();
                if failure.log.is_empty() {
                    failure.log = end::console(self.context, &self.spec.workspace, CONSOLE_BYTES);
                }
                failure
            }
            (Err(_), Some(reason)) => failure(FailureKind::DiskFull, reason),
            (Err(_), None) => StartFailure {
                kind: FailureKind::GuestSilent,
                message: format!(
                    "the guest did not answer within {} s; its console shows how far it came. Start it again",
                    deadline.as_secs()
                ),
                log: end::console(self.context, &self.spec.workspace, CONSOLE_BYTES),
            },
        };
        Err(failure.into())
    }

    async fn configure(&self, monitor: &Monitor) -> Result<Configured, Halt> {
        let configure = async {
            let session = guest::session(&monitor.client, false).await?;
            session.configure(self.configuration()).await
        };
        let outcome = tokio::select! {
            outcome = timeout(CONFIGURES_WITHIN, configure) => outcome,
            () = self.cancelled.cancelled() => return Err(Halt::Cancelled),
        };
        let (kind, message) = match outcome {
            Ok(Ok(configured)) => return Ok(configured),
            Ok(Err(error)) => (
                FailureKind::GuestCrashed,
                format!("the guest could not be set up: {error}"),
            ),
            Err(_) => {
                let seconds = CONFIGURES_WITHIN.as_secs();
                let text = format!("the guest took longer than {seconds} s to be set up");
                (FailureKind::GuestSilent, text)
            }
        };
        let log = end::console(self.context, &self.spec.workspace, CONSOLE_BYTES);
        Err(StartFailure { kind, message, log }.into())
    }

    fn configuration(&self) -> Configure {
        let (spec, config) = (self.spec, &self.context.config);
        let network = self.context.networks.is_some();
        let identity = spec.git_identity.as_ref();
        let folder = spec
            .repository
            .as_ref()
            .map(|repository| repository.folder.clone());
        let mut environment = spec.environment.clone();
        if network {
            environment.extend(config.proxy.for_guests(&config.network.allow));
        }
        let entropy: Vec<u8> = (0..4)
            .flat_map(|_| guest_protocol::link::random_nonce())
            .collect();
        Configure {
            hostname: spec.name.to_string(),
            time_ms: now_ms(),
            workspace_name: spec.name.to_string(),
            git_user_name: identity
                .map(|identity| identity.name.clone())
                .unwrap_or_default(),
            git_user_email: identity
                .map(|identity| identity.email.clone())
                .unwrap_or_default(),
            environment: environment.into_iter().collect(),
            extra_certificates: config.extra_certificates.clone(),
            nameservers: if network {
                vec![script::GATEWAY.to_string()]
            } else {
                Vec::new()
            },
            folder: folder.unwrap_or_else(|| spec.name.to_string()),
            entropy: entropy.into(),
            network,
        }
    }
}

fn convert_progress(step: &mut Step, done: u64, of: u64) {
    let (done_gib, of_gib) = (done as f64 / GIB, of as f64 / GIB);
    let detail = format!("converting the disk to the new format: {done_gib:.1} of {of_gib:.1} GiB");
    step.progress(detail, Some((done * 100 / of.max(1)) as u8));
}

fn has_exit(monitor: &Monitor) -> bool {
    monitor.folder.exit().exists()
}

fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> impl Future<Output = Result<T, StartFailure>> {
    let work = tokio::task::spawn_blocking(work);
    async {
        work.await
            .map_err(|error| failure(FailureKind::Internal, error.to_string()))
    }
}
