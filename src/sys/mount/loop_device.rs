//! Loop devices: block devices that show a file.

#![expect(unsafe_code, reason = "loop devices are set up by ioctls")]

use super::detached_mount::CallFailed;
use linux_raw_sys::loop_device::{
    LO_FLAGS_AUTOCLEAR, LO_FLAGS_READ_ONLY, LOOP_CONFIGURE, LOOP_CTL_GET_FREE, loop_config, loop_info64,
};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};

/// How many free devices are tried in turn while other programs take them first.
const MAX_ATTEMPTS: usize = 64;

mod ioctl {
    use super::{LOOP_CONFIGURE, LOOP_CTL_GET_FREE, loop_config};
    nix::ioctl_none_bad!(get_free, LOOP_CTL_GET_FREE);
    nix::ioctl_write_ptr_bad!(configure, LOOP_CONFIGURE, loop_config);
}

/// A loop device. The kernel releases its file when no descriptor and no file system uses the device any more.
#[derive(Debug)]
pub struct LoopDevice {
    path: String,
    #[expect(dead_code, reason = "the descriptor keeps the device in use")]
    device: OwnedFd,
}

impl LoopDevice {
    /// Attaches an open image to a free device. The image must be open for writing unless `readonly`.
    pub fn attach(image: &File, readonly: bool) -> Result<Self, CallFailed> {
        let access = if readonly { OFlag::O_RDONLY } else { OFlag::O_RDWR };
        let opened = |path: &str, access| open(path, access | OFlag::O_CLOEXEC, Mode::empty());
        let failed = |call| move |errno: Errno| CallFailed { call, error: errno.into() };
        let control = opened("/dev/loop-control", OFlag::O_RDWR).map_err(failed("open"))?;
        let config = configuration(image, readonly);
        for _ in 0..MAX_ATTEMPTS {
            // SAFETY: this call takes no argument; the descriptor is open.
            let number = unsafe { ioctl::get_free(control.as_raw_fd()) }.map_err(failed("ioctl"))?;
            let path = format!("/dev/loop{number}");
            let device = opened(&path, access).map_err(failed("open"))?;
            // SAFETY: the kernel reads `config`, which has the type that this call takes; both files are open.
            match unsafe { ioctl::configure(device.as_raw_fd(), &config) } {
                Ok(_) => return Ok(LoopDevice { path, device }),
                Err(Errno::EBUSY) => {}
                Err(errno) => return Err(failed("ioctl")(errno)),
            }
        }
        Err(failed("ioctl")(Errno::EBUSY))
    }

    /// Returns the device's path.
    pub fn path(&self) -> &str {
        &self.path
    }
}

fn configuration(image: &File, readonly: bool) -> loop_config {
    let read_only = if readonly { LO_FLAGS_READ_ONLY as u32 } else { 0 };
    let info = loop_info64 {
        lo_device: 0,
        lo_inode: 0,
        lo_rdevice: 0,
        lo_offset: 0,
        lo_sizelimit: 0,
        lo_number: 0,
        lo_encrypt_type: 0,
        lo_encrypt_key_size: 0,
        lo_flags: LO_FLAGS_AUTOCLEAR as u32 | read_only,
        lo_file_name: [0; 64],
        lo_crypt_name: [0; 64],
        lo_encrypt_key: [0; 32],
        lo_init: [0; 2],
    };
    loop_config { fd: image.as_raw_fd() as u32, block_size: 0, info, __reserved: [0; 8] }
}
