//! What a terminal does to a program that reads or writes it.

use std::os::fd::AsFd;

use rustix::process::getpgrp;
use rustix::termios::{LocalModes, tcgetattr, tcgetpgrp};

/// Whether a write would stop this process (SIGTTOU): it runs in the background of a terminal whose `tostop` is set.
pub fn would_stop_writer(fd: impl AsFd) -> bool {
    in_background(&fd) && tcgetattr(&fd).is_ok_and(|modes| modes.local_modes.contains(LocalModes::TOSTOP))
}

/// Whether a read would stop this process (SIGTTIN), or write would where `tostop` is set.
pub fn in_background(fd: impl AsFd) -> bool {
    tcgetpgrp(fd).is_ok_and(|foreground| foreground != getpgrp())
}

/// Whether this is a terminal that is still there. After a hang-up every request to it fails.
pub fn is_there(fd: impl AsFd) -> bool {
    tcgetattr(fd).is_ok()
}
