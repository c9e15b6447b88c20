//! The parts of a node that the services of calls use.

use std::time::Duration;

use crate::config::{CallSettings, Webrtc};
use crate::domain::base::Base;

pub(in crate::domain) struct CallsCore {
    pub(in crate::domain) base: Base,
    pub(in crate::domain) settings: CallSettings,
    pub(in crate::domain) webrtc: Webrtc,
    /// Time after which either a delivered signal has reached its device, or the device's connection is known to be
    /// broken.
    pub(in crate::domain) delivery_timeout: Duration,
}
