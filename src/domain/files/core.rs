//! State that the services of files share.

use std::sync::Arc;

use super::files::Files;
use crate::domain::base::Base;

pub(in crate::domain) struct FilesCore {
    pub(in crate::domain) base: Base,
    pub(in crate::domain) files: Arc<Files>,
}
