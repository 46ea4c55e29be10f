//! tandem: up, doctor, check, ctl, load
