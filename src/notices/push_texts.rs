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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;

    use super::super::notice::{Notice, Outgoing, Recipient};
    use super::super::samples;
    use super::super::template_files::read_all;
    use super::*;

    const LANGUAGES: [&str; 5] = ["de", "en", "es", "fr", "pt"];

    fn own() -> PushTexts {
        PushTexts::new(Arc::new(Templates::open(None, "Parlance").unwrap()))
    }

    /// Reads templates of a directory with these files. Returns the error if one is wrong.
    fn with_files(files: &[(&str, &str)]) -> Result<PushTexts, String> {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let templates = Templates::open(Some(directory.path()), "Parlance").map_err(|error| error.to_string())?;
        Ok(PushTexts::new(Arc::new(templates)))
    }

    fn text(title: &str, body: &str) -> PushText {
        PushText { title: title.into(), body: Some(body.into()) }
    }

    fn message<'a>(sender: &'a str, group: Option<&'a str>, text: &'a str) -> Saying<'a> {
        Saying::Message { sender, group, preview: Preview::Text(text) }
    }

    #[test]
    fn each_language_has_a_text_for_each_content() {
        let texts = own();
        for saying in samples::sayings() {
            let written = LANGUAGES.map(|language| texts.render(language, &saying));
            for PushText { title, body } in &written {
                let body = body.as_deref().unwrap();
                assert!(!title.is_empty() && !body.is_empty(), "{saying:?}");
                assert!(!body.contains(['{', '\n']) && !body.contains("none"), "{body}");
            }
            let bodies: BTreeSet<_> = written.iter().map(|text| &text.body).collect();
            assert!(saying.preview().is_some() || bodies.len() == LANGUAGES.len(), "{bodies:?}");
        }
        for preview in samples::attachments() {
            let written = LANGUAGES.map(|language| texts.preview(language, preview));
            assert!(written.iter().all(|text| !text.is_empty() && !text.contains("none")), "{written:?}");
            if matches!(preview, Preview::VoiceMessage { .. } | Preview::File { .. } | Preview::Several { .. }) {
                assert_eq!(written.iter().collect::<BTreeSet<_>>().len(), LANGUAGES.len(), "{written:?}");
            }
        }
    }

    #[test]
    fn the_title_names_the_conversation() {
        let (texts, ada, family) = (own(), "Ada", Some("Family"));
        let call = |caller, group, is_video| Saying::Call { caller, group, is_video };
        let cases = [
            (message(ada, None, "Hello"), text("Ada", "Hello")),
            (message(ada, family, "Hello"), text("Family", "Ada: Hello")),
            (Saying::Sender { sender: ada, group: None }, text("Ada", "New message")),
            (Saying::Sender { sender: ada, group: family }, text("Family", "New message from Ada")),
            (Saying::Nothing, text("Parlance", "New message")),
            (call(Some(ada), None, false), text("Ada", "Incoming call")),
            (call(Some(ada), family, true), text("Family", "Incoming video call from Ada")),
            (call(None, None, true), text("Parlance", "Incoming video call")),
            (Saying::Test, text("Parlance", "Push notifications work on this device.")),
        ];
        for (saying, expected) in cases {
            assert_eq!(texts.render("en", &saying), expected, "{saying:?}");
        }
        let french = texts.render("fr", &call(Some(ada), family, true));
        assert_eq!(french, text("Family", "Ada : appel vidéo entrant"));
    }

    #[test]
    fn an_attachment_is_named_by_its_kind() {
        let texts = own();
        for (preview, english, german) in [
            (Preview::Photo, "Photo", "Foto"),
            (Preview::Video, "Video", "Video"),
            (Preview::VoiceMessage { seconds: 12 }, "Voice message 0:12", "Sprachnachricht 0:12"),
            (Preview::Audio { seconds: None }, "Audio", "Audio"),
            (Preview::Audio { seconds: Some(185) }, "Audio 3:05", "Audio 3:05"),
            (Preview::File { name: "report.pdf" }, "File: report.pdf", "Datei: report.pdf"),
            (Preview::Several { count: 1 }, "1 attachment", "1 Anhang"),
            (Preview::Several { count: 3 }, "3 attachments", "3 Anhänge"),
        ] {
            assert_eq!(texts.preview("en", preview), english);
            assert_eq!(texts.preview("de", preview), german);
            let saying = Saying::Message { sender: "Ada", group: None, preview };
            assert_eq!(texts.render("de", &saying), text("Ada", german));
        }
    }

    #[test]
    fn names_and_texts_are_plain_text() {
        let texts = own();
        let hostile = "{{ app_name }}{% if %} <b>&amp;";
        let expected = text(hostile, &format!("{hostile}: {hostile}"));
        assert_eq!(texts.render("en", &message(hostile, Some(hostile), hostile)), expected);
        let file = Preview::File { name: "{{ code }}\r\n.pdf" };
        assert_eq!(texts.preview("en", file), "File: {{ code }} .pdf");
        let lines = message("Ada\r\nEve", None, " one\n\n\u{2028}two\u{0}three ");
        assert_eq!(texts.render("en", &lines), text("Ada Eve", "one two three"));
        assert_eq!(texts.render("en", &message("\n", Some("\u{7}"), "x")).title, "Parlance");
        assert_eq!(texts.render("en", &message("Ada", None, "\n")).body, None);
    }

    #[test]
    fn right_to_left_names_are_isolated_from_other_words() {
        let texts = own();
        let expected = text("משפחה", "\u{2068}דנה\u{2069}: \u{2068}שלום!\u{2069}");
        assert_eq!(texts.render("en", &message("דנה", Some("משפחה"), "שלום!")), expected);
        assert_eq!(texts.render("en", &message("דנה", None, "שלום!")), text("דנה", "שלום!"));
        let call = Saying::Call { caller: Some("دنيا"), group: Some("Team"), is_video: false };
        assert_eq!(texts.render("de", &call), text("Team", "Eingehender Anruf von \u{2068}دنيا\u{2069}"));
    }

    #[test]
    fn a_language_without_templates_gets_english() {
        let texts = own();
        for language in ["", "nl", "*", "x-klingon", "ä", "de;q=0"] {
            assert_eq!(texts.render(language, &Saying::Nothing), text("Parlance", "New message"), "{language}");
        }
        for language in ["de", "DE", "de-CH"] {
            assert_eq!(texts.render(language, &Saying::Nothing), text("Parlance", "Neue Nachricht"));
        }
    }

    #[test]
    fn a_language_of_an_earlier_version_has_english_pushes_and_digests() {
        let english = read_all(None).unwrap();
        let older: Vec<_> = english
            .iter()
            .filter_map(|(path, text)| Some((path.strip_prefix("en/")?, text.as_str())))
            .filter(|(file, _)| !file.starts_with("push.") && !file.starts_with("digest."))
            .map(|(file, text)| (format!("nl/{file}"), text))
            .collect();
        let mut files: Vec<_> = older.iter().map(|(path, text)| (path.as_str(), *text)).collect();
        let texts = with_files(&files).unwrap();
        assert_eq!(texts.render("nl", &Saying::Nothing), text("Parlance", "New message"));
        assert_eq!(texts.preview("nl", Preview::Several { count: 2 }), "2 attachments");
        let mail_language = |notice| {
            let recipient = Recipient::Email("ada@example.com".into());
            let outgoing = Outgoing { recipient, notice, language: Language::tagged("nl"), network: None };
            texts.0.mail(&outgoing).unwrap().language
        };
        assert_eq!(mail_language(Notice::PasswordReset { username: "ada".into() }), "nl");
        let links = None;
        let digest = Notice::Digest { username: "ada".into(), unread: 1, conversations: Vec::new(), others: 0, links };
        assert_eq!(mail_language(digest), "en");
        files.push(("nl/push.body.txt", "Nieuw"));
        let error = with_files(&files).err().unwrap();
        assert!(error.starts_with("nl/push.title.txt: the file is missing"), "{error}");
    }

    #[test]
    fn the_templates_of_the_operator_replace_the_texts() {
        let texts = with_files(&[("de-AT/push.body.txt", "Servus {{ sender|isolate if sender else '' }}")]).unwrap();
        assert_eq!(texts.render("de-AT", &message("Ada", None, "Hello")), text("Ada", "Servus Ada"));
        assert_eq!(texts.render("de", &message("Ada", None, "Hello")), text("Ada", "Hello"));
        for (file, content, expected) in [
            ("de/push.body.txt", "{{ user }}", "de/push.body.txt, line 1: there is no variable user; allowed are kind"),
            (
                "de/push.body.txt",
                "{% if sender %}x{% endif %}",
                "de/push.body.txt: the text is empty if kind is nothing",
            ),
            ("de/push.preview.txt", " ", "de/push.preview.txt: the text is empty"),
            ("de/push.text.txt", "x", "de/push.text.txt: this is no template"),
        ] {
            let error = with_files(&[(file, content)]).err().unwrap();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn a_template_that_fails_leaves_the_name_of_the_app() {
        let fails = "{% if sender and sender != 'Ada' %}{{ sender|int }}{% endif %}New";
        let texts = with_files(&[("en/push.body.txt", fails)]).unwrap();
        let expected = PushText { title: "Parlance".into(), body: None };
        assert_eq!(texts.render("en", &message("Eve", None, "Hello")), expected);
        assert_eq!(texts.render("en", &Saying::Nothing), text("Parlance", "New"));
    }
}
