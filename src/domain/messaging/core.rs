//! State that the services of messages share.

use super::scheduler::Scheduler;
use super::writer::Writers;
use crate::domain::base::Base;
use crate::live::Live;

pub(in crate::domain) struct MessagingCore {
    pub(in crate::domain) base: Base,
    pub(in crate::domain) live: Live,
    pub(in crate::domain) writers: Writers,
    pub(in crate::domain) scheduler: Scheduler,
}
