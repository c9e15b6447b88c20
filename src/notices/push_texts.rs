//! The texts of push notifications, in the language of the recipient.

use std::sync::Arc;

use tracing::warn;

use super::language::Language;
use super::saying::{Preview, PushText, Saying};
use super::templates::Templates;
use super::{OpenError, open_templates};
use crate::config::NoticeSettings;

/// Writes the texts of push notifications. Cheap to clone.
#[derive(Clone)]
pub struct PushTexts(Arc<Templates>);

impl PushTexts {
    /// Reads the templates. A server takes the texts from `Notifier::push_texts`, which shares the templates of e-mails
    /// and SMS.
    pub fn open(settings: &NoticeSettings) -> Result<Self, OpenError> {
        Ok(Self::new(open_templates(settings)?))
    }

    pub(super) const fn new(templates: Arc<Templates>) -> Self {
        Self(templates)
    }

    /// Writes a notification. `language` is a tag of RFC 5646; a language without templates, or an empty tag, gives
    /// English. If a template of the operator fails with these values, the notification only has APP_NAME.
    pub fn render(&self, language: &str, saying: &Saying<'_>) -> PushText {
        self.0.push(&Language::tagged(language), saying).unwrap_or_else(|error| {
            warn!(language, kind = saying.kind(), %error, "the text of a push notification could not be written");
            PushText { title: self.0.app_name().to_owned(), body: None }
        })
    }

    /// Writes what an e-mail shows of a message, in one line. The language is chosen as in `render`. Empty if a
    /// template of the operator fails with these values.
    pub fn preview(&self, language: &str, preview: Preview<'_>) -> String {
        self.0.preview(&Language::tagged(language), preview).unwrap_or_else(|error| {
            warn!(language, %error, "the preview of a message could not be written");
            String::new()
        })
    }
}
