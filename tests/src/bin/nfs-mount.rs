//! `nfs-mount DIR POINT`: has the kernel's own NFS server offer a directory on the loopback device, and mounts it. Runs in
//! guests, where there is nothing else of NFS: what its daemons would answer to the kernel is answered here, beforehand.

use std::{
    ffi::CString,
    fs::{self, OpenOptions},
    io::Write,
    process::ExitCode,
};

use rustix::mount::{MountFlags, mount};

/// An answer is good until this time, in seconds since 1970.
const FOR_EVER: u32 = u32::MAX >> 1;

/// As in the kernel's `uapi/linux/nfsd/export.h`: any port of the client's, no waiting for the disk, no check that a handle
/// lies in the export, and an export with a number of its own.
const FLAGS: u32 = 0x2 | 0x10 | 0x400 | 0x2000;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [dir, point] = args.as_slice() else {
        eprintln!("usage: nfs-mount DIR POINT");
        return ExitCode::from(2);
    };
    match serve(dir).and_then(|()| attach(point)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("nfs-mount: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(dir: &str) -> Result<(), String> {
    fs::create_dir_all(dir).map_err(|e| format!("{dir}: {e}"))?;
    // Where older kernels note their clients themselves.
    fs::create_dir_all("/var/lib/nfs/v4recovery").map_err(|e| format!("/var/lib/nfs: {e}"))?;
    mount("nfsd", "/proc/fs/nfsd", "nfsd", MountFlags::empty(), None).map_err(|e| format!("nfsd: {e}"))?;
    // Who asks for the loopback device's address is "client"; the export number 0, which is the root of all, is the
    // directory; and client may have it.
    tell("/proc/net/rpc/auth.unix.ip/channel", &format!("nfsd 127.0.0.1 {FOR_EVER} client\n"))?;
    tell("/proc/net/rpc/nfsd.fh/channel", &format!("client 1 \\x00000000 {FOR_EVER} {dir}\n"))?;
    tell("/proc/net/rpc/nfsd.export/channel", &format!("client {dir} {FOR_EVER} {FLAGS} 65534 65534 0\n"))?;
    tell("/proc/fs/nfsd/nfsv4leasetime", "10\n")?;
    tell("/proc/fs/nfsd/nfsv4gracetime", "10\n")?;
    for version in ["-3", "+4", "+4.1", "+4.2"] {
        tell("/proc/fs/nfsd/versions", &format!("{version}\n"))?;
    }
    tell("/proc/fs/nfsd/portlist", "tcp 2049\n")?;
    tell("/proc/fs/nfsd/threads", "2\n")?;
    // There are no clients from before that could claim anything. A kernel that cannot note clients refuses: then the
    // first file is opened when the time of grace is over.
    let _ = tell("/proc/fs/nfsd/v4_end_grace", "Y\n");
    Ok(())
}

fn attach(point: &str) -> Result<(), String> {
    fs::create_dir_all(point).map_err(|e| format!("{point}: {e}"))?;
    let options = CString::new("addr=127.0.0.1,clientaddr=127.0.0.1,vers=4.2,sec=sys,actimeo=0")
        .map_err(|e| e.to_string())?;
    mount("127.0.0.1:/", point, "nfs4", MountFlags::empty(), options.as_c_str())
        .map_err(|e| format!("mounting on {point}: {e}"))
}

/// Writes one line to a file of the kernel's.
fn tell(path: &str, line: &str) -> Result<(), String> {
    let file = OpenOptions::new().write(true).open(path);
    file.and_then(|mut file| file.write_all(line.as_bytes()))
        .map_err(|e| format!("{path}: {}: {e}", line.trim()))
}
