//! The command line of a VM: which devices it has, and in which order the guest finds them.
//!
//! The devices of a machine version never change: a machine that sleeps has to wake with the same.

use std::os::fd::{AsRawFd, RawFd};

use serde_json::json;

use super::descriptors::{Descriptors, OpenDisk};
use crate::spec::{Accelerator, MAC_ADDRESS, QemuSpec, VmSpec};

/// TCG's cache of translated code, MiB: with 32, starting node costs a tenth more, and 128 gains nothing;
/// what it fills is memory of the host beside the guest's RAM.
const TRANSLATION_CACHE_MIB: u32 = 64;

/// Number of the set of descriptors in which QEMU finds where to write the state of its devices; 1 is the disk's.
pub const DEVICE_STATE: u32 = 2;

/// Arguments of `qemu-system-x86_64` for machine version 1.
pub fn arguments(name: &str, spec: &VmSpec, qemu: &QemuSpec, open: &Descriptors) -> Vec<String> {
    let mut line = Line(Vec::new());
    line.add("-name", format!("{name},process=roost-vmm"));
    line.add("-L", open.path(&open.firmware));
    for flag in ["-nodefaults", "-no-user-config", "-no-reboot"] {
        line.0.push(flag.to_owned());
    }
    line.add("-display", "none");
    line.add(
        "-sandbox",
        "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
    );

    line.add(
        "-machine",
        "microvm,memory-backend=ram0,pit=on,pic=on,rtc=on,isa-serial=on",
    );
    line.add(
        "-accel",
        match qemu.accelerator {
            Accelerator::Kvm => "kvm".to_owned(),
            Accelerator::Tcg => format!("tcg,tb-size={TRANSLATION_CACHE_MIB}"),
        },
    );
    line.add("-cpu", &qemu.cpu_model);
    line.add("-smp", spec.vcpus.to_string());
    line.add("-m", format!("{}M", spec.memory_mib));
    // Private to this VMM; the name is what a snapshot knows it by.
    let memory = format!("id=ram0,size={}M", spec.memory_mib);
    match &open.wake {
        None => {
            line.add("-object", format!("memory-backend-ram,{memory}"));
            line.add("-kernel", open.path(&open.kernel));
            line.add("-initrd", open.path(&open.initramfs));
            line.add("-append", kernel_command_line(qemu));
        }
        Some(wake) => {
            let image = open.path(&wake.image);
            line.add(
                "-object",
                format!("memory-backend-file,{memory},mem-path={image},share=off"),
            );
            line.add("-incoming", "defer");
            line.0.push("-S".to_owned());
        }
    }
    // What is saved are devices alone, without what a migration says of itself.
    line.add("-global", "migration.send-configuration=off");
    line.add(
        "-add-fd",
        format!("fd={},set={DEVICE_STATE}", open.device_state.as_raw_fd()),
    );

    line.add("-chardev", socket("qmp", open.qmp.as_raw_fd()));
    line.add("-mon", "chardev=qmp,mode=control");
    line.add("-chardev", socket("console", open.console.as_raw_fd()));
    line.add("-serial", "chardev:console");
    links(&mut line, open);
    disks(&mut line, open);
    network(&mut line, open);
    line.add("-object", "rng-builtin,id=rng0");
    line.add("-device", "virtio-rng-device,id=rng,rng=rng0");
    line.add(
        "-device",
        "virtio-balloon-device,id=balloon,free-page-reporting=on,deflate-on-oom=on",
    );
    line.0
}

/// Ports of the agent: two in use and two for what comes later.
fn links(line: &mut Line, open: &Descriptors) {
    line.add("-device", "virtio-serial-device,id=serial,max_ports=8");
    line.add(
        "-chardev",
        socket("interactive", open.interactive.as_raw_fd()),
    );
    line.add("-chardev", socket("bulk", open.bulk.as_raw_fd()));
    line.add("-chardev", "null,id=spare0");
    line.add("-chardev", "null,id=spare1");
    for (number, port) in ["interactive", "bulk", "spare0", "spare1"]
        .iter()
        .enumerate()
    {
        let number = number + 1;
        line.add("-device", format!("virtserialport,id=port-{port},bus=serial.0,nr={number},chardev={port},name=roost.{port}"));
    }
}

/// The root disk, and a slot for one more that can be given a medium while the VM runs.
fn disks(line: &mut Line, open: &Descriptors) {
    let descriptor = open.disk.as_raw_fd();
    let source = match &open.disk {
        OpenDisk::File { direct, alone, .. } => {
            line.add("-add-fd", format!("fd={descriptor},set=1"));
            json!({
                "driver": "file", "node-name": "disk-file", "filename": "/dev/fdset/1", "discard": "unmap",
                // Without it a flush that failed once fails for ever after.
                "cache": { "direct": direct },
                "locking": if *alone { "off" } else { "auto" },
            })
        }
        OpenDisk::Nbd(_) => json!({
            "driver": "nbd", "node-name": "disk-file",
            "server": { "type": "unix", "path": open.path(&open.disk) },
            // Seconds that requests wait for a server that is away; for ever, since whoever runs this VM sees to it.
            "reconnect-delay": u32::MAX / 1000,
        }),
    };
    let disk = json!({ "driver": "raw", "node-name": "disk", "discard": "unmap", "file": source });
    // A raw node on top: its file can be exchanged later, the device's own node cannot.
    let spare = json!({
        "driver": "raw", "node-name": "spare",
        "file": { "driver": "null-co", "node-name": "spare-empty", "size": 0, "read-zeroes": true },
    });
    for (node, name) in [(disk, "disk"), (spare, "spare")] {
        line.add("-blockdev", node.to_string());
        let device = format!("virtio-blk-device,id=blk-{name},drive={name},serial=roost-{name}");
        line.add("-device", format!("{device},werror=stop,rerror=stop"));
    }
}

fn network(line: &mut Line, open: &Descriptors) {
    line.add(
        "-netdev",
        match &open.tap {
            Some(tap) => format!("tap,id=net0,fd={},vhost=off", tap.as_raw_fd()),
            // A hub with nothing else on it.
            None => "hubport,id=net0,hubid=0".to_owned(),
        },
    );
    line.add(
        "-device",
        format!("virtio-net-device,id=net,netdev=net0,mac={MAC_ADDRESS}"),
    );
}

/// `init_on_alloc` stays on, as Debian has it: memory that a snapshot left behind shows through otherwise.
fn kernel_command_line(qemu: &QemuSpec) -> String {
    let mut words: Vec<String> =
        "console=ttyS0 quiet loglevel=4 panic=-1 reboot=t cryptomgr.notests \
        random.trust_cpu=on init_on_alloc=1 init_on_free=0"
            .split_whitespace()
            .map(str::to_owned)
            .collect();
    if qemu.accelerator == Accelerator::Tcg {
        // Under emulation the guest cannot measure its clock, and hangs when it tries on a loaded host.
        words.push("tsc=reliable".to_owned());
        words.extend(qemu.tsc_khz.map(|khz| format!("tsc_early_khz={khz}")));
        // They guard against what a real processor speculates; emulated, they only cost.
        words.push("mitigations=off".to_owned());
    }
    words.extend(qemu.kernel_arguments.iter().cloned());
    words.join(" ")
}

fn socket(id: &str, descriptor: RawFd) -> String {
    format!("socket,id={id},fd={descriptor}")
}

struct Line(Vec<String>);

impl Line {
    fn add(&mut self, option: &str, value: impl Into<String>) {
        self.0.push(option.to_owned());
        self.0.push(value.into());
    }
}
