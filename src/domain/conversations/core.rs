//! The parts of a node that the services of conversations use.

use std::sync::Arc;

use crate::domain::base::Base;
use crate::domain::calls::core::CallsCore;
use crate::domain::files::core::FilesCore;
use crate::domain::people::core::PeopleCore;
use crate::live::Live;

pub(in crate::domain) struct ConversationsCore {
    pub(in crate::domain) base: Base,
    pub(in crate::domain) live: Live,
    pub(in crate::domain) files: Arc<FilesCore>,
    pub(in crate::domain) people: Arc<PeopleCore>,
    pub(in crate::domain) calls: Arc<CallsCore>,
}
