//! The smallest FUSE file system: one directory with one file, whose content changes behind the kernel's back, as
//! on a server that somebody else writes to. No library: the one that is kept brings a dozen packages for the
//! eight requests that are answered here. Protocol 7.31, linux/fuse.h.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::fd::{AsRawFd as _, RawFd};
use std::sync::{Arc, Mutex};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

const ROOT: u64 = 1;
const THE_FILE: u64 = 2;

/// A file system that a child may mount; it ends with its last mount.
pub struct Fuse {
    descriptor: RawFd,
    content: Arc<Mutex<Vec<u8>>>,
}

impl Fuse {
    /// One that holds the file `name`.
    pub fn holding(name: &str, content: &str) -> Self {
        let device =
            OpenOptions::new().read(true).write(true).open("/dev/fuse").expect("this test needs /dev/fuse");
        // The child that mounts it has to have it.
        fcntl(&device, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
        let fuse = Self { descriptor: device.as_raw_fd(), content: Arc::new(Mutex::new(content.into())) };
        let (name, content) = (name.to_owned(), Arc::clone(&fuse.content));
        std::thread::spawn(move || serve(device, name.as_bytes(), &content));
        fuse
    }

    /// The command that mounts it.
    pub fn mounts_at(&self, directory: &str) -> String {
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", self.descriptor);
        format!("mount -i -t fuse -o {options} stand-in {directory}")
    }

    /// Changes the file, and nobody is told.
    pub fn change(&self, content: &str) {
        *self.content.lock().unwrap() = content.into();
    }
}

fn serve(mut device: File, name: &[u8], content: &Mutex<Vec<u8>>) {
    let mut request = vec![0; 256 * 1024];
    // It cannot be read before it is mounted, and not any more once it is not.
    loop {
        let length = match device.read(&mut request) {
            Ok(length) => length,
            Err(error) if error.raw_os_error() == Some(nix::libc::EPERM) => {
                std::thread::yield_now();
                continue;
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(_) => return,
        };
        let number = |at: usize| u64::from_le_bytes(request[at..at + 8].try_into().unwrap());
        let opcode = u32::from_le_bytes(request[4..8].try_into().unwrap());
        let (unique, node, body) = (number(8), number(16), &request[40..length]);
        let bytes = content.lock().unwrap().clone();
        let answer = match opcode {
            // FORGET, INTERRUPT, BATCH_FORGET: nothing is to be said.
            2 | 36 | 42 => continue,
            1 if node == ROOT && body.strip_suffix(b"\0") == Some(name) => Ok(entry(&bytes)),
            1 => Err(nix::libc::ENOENT),
            3 => Ok([vec![0; 16], attributes(node, &bytes)].concat()),
            // OPEN, OPENDIR: FOPEN_DIRECT_IO, so that nothing is cached.
            14 | 27 => Ok([0_u64.to_le_bytes(), 1_u64.to_le_bytes()].concat()),
            15 => {
                let (from, size) = (number(48) as usize, number(56) as u32 as usize);
                Ok(bytes.iter().skip(from).take(size).copied().collect())
            }
            17 => Ok(statistics()),
            // RELEASE, FLUSH, READDIR, RELEASEDIR, ACCESS, DESTROY.
            18 | 25 | 28 | 29 | 34 | 38 => Ok(Vec::new()),
            26 => Ok(greeting()),
            _ => Err(nix::libc::ENOSYS),
        };
        let (error, payload) = match answer {
            Ok(payload) => (0, payload),
            Err(errno) => (-errno, Vec::new()),
        };
        let size = u32::try_from(16 + payload.len()).unwrap();
        let head = [size.to_le_bytes().as_slice(), &error.to_le_bytes(), &unique.to_le_bytes()].concat();
        // Somebody who does not wait any more is no failure.
        let _ = device.write(&[head, payload].concat());
    }
}

/// `fuse_init_out`.
fn greeting() -> Vec<u8> {
    let mut words = vec![7_u32, 31, 65_536, 0, 0, 65_536, 1];
    words.resize(16, 0);
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// `fuse_entry_out`: nothing of it may be kept.
fn entry(content: &[u8]) -> Vec<u8> {
    [THE_FILE.to_le_bytes().to_vec(), vec![0; 32], attributes(THE_FILE, content)].concat()
}

/// `fuse_attr`.
fn attributes(node: u64, content: &[u8]) -> Vec<u8> {
    let is_root = node == ROOT;
    let size = if is_root { 0 } else { content.len() as u64 };
    let mode: u32 = if is_root { 0o040_700 } else { 0o100_600 };
    let longs = [node, size, size.div_ceil(512), 0, 0, 0];
    let words = [0, 0, 0, mode, 1, 0, 0, 0, 4096, 0];
    let longs = longs.iter().flat_map(|long| long.to_le_bytes());
    longs.chain(words.iter().flat_map(|word| word.to_le_bytes())).collect()
}

/// `fuse_kstatfs`.
fn statistics() -> Vec<u8> {
    let words = [4096_u32, 255, 4096];
    let words = words.iter().flat_map(|word| word.to_le_bytes());
    std::iter::repeat_n(0, 40).chain(words).chain(std::iter::repeat_n(0, 28)).collect()
}
