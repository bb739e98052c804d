//! Other roads to a file: another root, another mount, another name, a device on top of it.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    fs::{Mode, OFlags},
    mount::{MountPropagationFlags, mount_bind, mount_change},
    thread::UnshareFlags,
};

use super::{Act, Ground, Kept, Operation, WRITTEN, act, at, by_paths, raw::call, renamed, staged};

pub const OPERATIONS: &[Operation] = &[
    staged("write by /proc/self/fd", WRITTEN, |g| {
        let file = File::open(g.at("f"))?;
        act(move || {
            let mut again =
                OpenOptions::new().write(true).open(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
            again.write_all(b"again").map(|()| again)
        })
    }),
    staged("write to a file that was renamed meanwhile", &[at("write", "d/new")], |g| {
        let mut file = g.file("f")?;
        fs::rename(g.at("f"), g.at("d/new"))?;
        act(move || file.write_all(b"still").map(|()| file))
    }),
    staged("write to a file that was moved out meanwhile", &[], |g| {
        let mut file = g.file("f")?;
        fs::rename(g.at("f"), g.outside.join("o"))?;
        act(move || file.write_all(b"no longer").map(|()| file))
    }),
    staged("write to a file that was deleted meanwhile", &[], |g| {
        let mut file = g.file("f")?;
        fs::remove_file(g.at("f"))?;
        act(move || file.write_all(b"no longer").map(|()| file))
    }),
    staged("write by one of two names", &[at("write", "d/new")], |g| {
        fs::hard_link(g.at("f"), g.at("d/new"))?;
        let mut file = g.file("d/new")?;
        act(move || file.write_all(b"by one").map(|()| file))
    }),
    staged("write from another root", WRITTEN, |g| {
        elsewhere(g, |g| {
            leave(UnshareFlags::FS)?;
            rustix::process::chroot(&g.root)?;
            append(Path::new("/f"))
        })
    }),
    staged("create from another root", &[at("create", "d/new")], |g| {
        elsewhere(g, |g| {
            leave(UnshareFlags::FS)?;
            rustix::process::chroot(g.at("d"))?;
            Ok(Box::new(File::create("/new")?))
        })
    }),
    staged("write by a mount of another namespace", WRITTEN, |g| in_namespace(g, |at| append(&at.join("f")))),
    staged("create by a mount of another namespace", &[at("create", "d/new")], |g| {
        in_namespace(g, |at| Ok(Box::new(File::create(at.join("d/new"))?)))
    }),
    staged("rename by a mount of another namespace", &[renamed("f", "d/new")], |g| {
        in_namespace(g, |at| Ok(Box::new(fs::rename(at.join("f"), at.join("d/new"))?)))
    }),
    staged("rename from a working directory", &[renamed("d/g", "f")], |g| {
        elsewhere(g, |g| {
            leave(UnshareFlags::FS)?;
            rustix::process::chdir(g.at("d/e"))?;
            Ok(Box::new(fs::rename("../g", "../../f")?))
        })
    }),
    by_paths("create in a deep directory", &[at("create", DEEP)], |g| {
        // Below the limit of a path, by steps.
        let mut dir = g.dir("d")?;
        for _ in 0..DEPTH {
            rustix::fs::mkdirat(&dir, "deep", Mode::RWXU)?;
            dir =
                rustix::fs::openat(&dir, "deep", OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?.into();
        }
        rustix::fs::openat(&dir, "new", OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC, Mode::RUSR)?;
        Ok(())
    }),
    staged("write to a loop device on a file", WRITTEN, looped),
];

/// How many directories deep.
const DEPTH: usize = 40;
const DEEP: &str = "d/deep/deep/deep/deep/deep/deep/deep/deep/deep/deep/deep/deep/deep/deep/deep/deep/deep/deep/deep/\
    deep/deep/deep/deep/deep/deep/deep/deep/deep/deep/deep/deep/deep/deep/deep/deep/deep/deep/deep/deep/deep/new";

/// Gives this thread its own root and working directory, or its own mounts too.
fn leave(flags: UnshareFlags) -> io::Result<()> {
    // SAFETY: neither has to do with descriptors.
    unsafe { rustix::thread::unshare_unsafe(flags)? };
    Ok(())
}

fn append(path: &Path) -> io::Result<Kept> {
    let mut file = OpenOptions::new().append(true).open(path)?;
    file.write_all(b"from elsewhere").map(|()| Box::new(file) as Kept)
}

/// What is done with the places of a ground, in a thread that is like a process of its own there. What is kept goes with
/// the thread.
fn elsewhere(ground: &Ground, run: fn(&Ground) -> io::Result<Kept>) -> io::Result<Act> {
    let places = Ground { root: ground.root.clone(), outside: ground.outside.clone() };
    act(move || {
        let work = move || run(&places).map(drop);
        thread::spawn(work).join().map_err(|_| io::Error::other("the thread panicked"))?
    })
}

/// What is done by way of a second mount of the tree, which only a thread sees.
fn in_namespace(ground: &Ground, run: fn(&Path) -> io::Result<Kept>) -> io::Result<Act> {
    let (root, point): (PathBuf, _) = (ground.root.clone(), ground.outside.join("mounted"));
    fs::create_dir(&point)?;
    act(move || {
        let work = move || {
            leave(UnshareFlags::NEWNS)?;
            mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)?;
            mount_bind(&root, &point)?;
            run(&point).map(drop)
        };
        thread::spawn(work).join().map_err(|_| io::Error::other("the thread panicked"))?
    })
}

/// Writes to a loop device whose blocks are those of a file: the file is then written by the kernel.
fn looped(ground: &Ground) -> io::Result<Act> {
    const LOOP_SET_FD: i64 = 0x4c00;
    const LOOP_CTL_GET_FREE: i64 = 0x4c82;
    let control = OpenOptions::new().read(true).write(true).open("/dev/loop-control")?;
    let number = call!(libc::SYS_ioctl, control, LOOP_CTL_GET_FREE)?;
    let path = PathBuf::from(format!("/dev/loop{number}"));
    let start = Instant::now();
    while !path.exists() && start.elapsed() < Duration::from_secs(5) {
        thread::yield_now();
    }
    let device = OpenOptions::new().read(true).write(true).open(path)?;
    let file = ground.file("f")?;
    call!(libc::SYS_ioctl, device, LOOP_SET_FD, file)?;
    let mut device = Looped { device };
    act(move || {
        device.device.write_all(&[b'l'; 4096])?;
        device.device.sync_all()?;
        Ok((device, file))
    })
}

/// A loop device in use.
struct Looped {
    device: File,
}

impl Drop for Looped {
    fn drop(&mut self) {
        const LOOP_CLR_FD: i64 = 0x4c01;
        // The kernel lets it go with the last descriptor at the latest.
        let _ = call!(libc::SYS_ioctl, self.device, LOOP_CLR_FD);
    }
}
