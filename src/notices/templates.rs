//! The templates of notices and push notifications: the server's own ones, and those of the operator. All are checked
//! when they are read.

use std::collections::BTreeMap;
use std::path::Path;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error as RenderError, Template, UndefinedBehavior};

use super::language::{DEFAULT, Language, with_parents};
use super::notice::{Notice, Outgoing};
use super::samples;
use super::saying::{Preview, PushText, Saying};
use super::template_files::{
    BODY, FAMILIES, Family, HTML, LAYOUT, PREVIEW, PUSH, SMS, SUBJECT, TEXT, TITLE, TemplateError, read_all,
};
use super::values::{self, COMMON, VARIABLES, isolate, one_line};

/// The templates of all languages.
pub(super) struct Templates {
    environment: Environment<'static>,
    /// The tags of all languages by their tags in lower case, which are the names of their directories.
    languages: BTreeMap<String, String>,
    app_name: String,
}

/// The text of an e-mail.
pub(super) struct MailText {
    pub(super) subject: String,
    pub(super) text: String,
    pub(super) html: String,
    /// Tag of the language of the texts.
    pub(super) language: String,
}

/// The text of an SMS.
pub(super) struct SmsText {
    pub(super) text: String,
    pub(super) language: String,
}

impl Templates {
    /// Reads the server's own templates, and those of the directory, which replace them or add languages. Writes all
    /// texts with sample values, so that a wrong template is an error now and not when a notice is sent.
    pub(super) fn open(directory: Option<&Path>, app_name: &str) -> Result<Self, TemplateError> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|error| wrong(LAYOUT, &error))?);
        environment.add_filter("isolate", isolate);
        let mut languages = BTreeMap::new();
        for (name, text) in read_all(directory)? {
            if let Some((tag, _)) = name.split_once('/') {
                languages.insert(tag.to_ascii_lowercase(), tag.to_owned());
            }
            environment.add_template_owned(name.clone(), text).map_err(|error| wrong(&name, &error))?;
        }
        let templates = Self { environment, languages, app_name: one_line(app_name) };
        templates.check()?;
        Ok(templates)
    }

    /// Returns the tag of the best language for the client. None if the client prefers no language with templates.
    pub(super) fn matched(&self, language: &Language) -> Option<&str> {
        language.matched(&self.languages)
    }

    /// Writes the e-mail of a notice in the best language for it.
    pub(super) fn mail(&self, outgoing: &Outgoing) -> Result<MailText, RenderError> {
        self.mail_in(outgoing.language.choose(&self.languages), &outgoing.notice)
    }

    /// Writes the SMS of a notice in the best language for it.
    pub(super) fn sms(&self, outgoing: &Outgoing) -> Result<SmsText, RenderError> {
        self.sms_in(outgoing.language.choose(&self.languages), &outgoing.notice)
    }

    /// Writes a push notification in the best language for the recipient.
    pub(super) fn push(&self, language: &Language, saying: &Saying<'_>) -> Result<PushText, RenderError> {
        self.push_in(language.choose(&self.languages), saying)
    }

    /// Writes what a notification shows of a message, in the best language for the recipient.
    pub(super) fn preview(&self, language: &Language, preview: Preview<'_>) -> Result<String, RenderError> {
        self.preview_in(language.choose(&self.languages), preview)
    }

    pub(super) fn app_name(&self) -> &str {
        &self.app_name
    }

    fn mail_in(&self, language: &str, notice: &Notice) -> Result<MailText, RenderError> {
        let language = self.language_with(language, notice.template(), TEXT);
        let values = values::of_notice(&self.app_name, language, notice);
        let render = |part| self.template(language, notice.template(), part)?.render(&values);
        Ok(MailText {
            subject: one_line(&render(SUBJECT)?),
            text: format!("{}\n", render(TEXT)?.trim()),
            html: format!("{}\n", render(HTML)?.trim()),
            language: language.to_owned(),
        })
    }

    fn sms_in(&self, language: &str, notice: &Notice) -> Result<SmsText, RenderError> {
        let values = values::of_notice(&self.app_name, language, notice);
        let text = self.template(language, notice.template(), SMS)?.render(&values)?;
        Ok(SmsText { text: text.trim().to_owned(), language: language.to_owned() })
    }

    fn push_in(&self, language: &str, saying: &Saying<'_>) -> Result<PushText, RenderError> {
        let language = self.language_with(language, PUSH, TITLE);
        let preview = saying.preview().map(|preview| self.preview_in(language, preview)).transpose()?;
        let values = values::of_saying(&self.app_name, language, saying, preview);
        let render = |part| self.template(language, PUSH, part)?.render(&values);
        let title = one_line(&render(TITLE)?);
        let body = render(BODY)?.trim().to_owned();
        // A template of the operator may write no title for some names.
        let title = if title.is_empty() { self.app_name.clone() } else { title };
        Ok(PushText { title, body: (!body.is_empty()).then_some(body) })
    }

    fn preview_in(&self, language: &str, preview: Preview<'_>) -> Result<String, RenderError> {
        if let Preview::Text(text) = preview {
            return Ok(one_line(text));
        }
        let language = self.language_with(language, PUSH, PREVIEW);
        let values = values::of_preview(&self.app_name, language, preview);
        Ok(one_line(&self.template(language, PUSH, PREVIEW)?.render(&values)?))
    }

    /// Returns the language if it has this template, and the default one otherwise. Only a family that is optional can
    /// be missing, and then as a whole, so all texts of a notice are in the same language.
    fn language_with<'a>(&self, language: &'a str, family: &str, part: &str) -> &'a str {
        if self.find(language, &format!("{family}.{part}")).is_some() { language } else { DEFAULT }
    }

    /// Returns the template of a language, or else of a more general language, such as `de` for `de-AT`, or else of the
    /// default one.
    fn template(&self, language: &str, family: &str, part: &str) -> Result<Template<'_, '_>, RenderError> {
        let file = format!("{family}.{part}");
        let default = || self.environment.get_template(&format!("{DEFAULT}/{file}"));
        self.find(language, &file).map_or_else(default, Ok)
    }

    /// Returns the template of a language, or else of a more general language.
    fn find(&self, language: &str, file: &str) -> Option<Template<'_, '_>> {
        let language = language.to_ascii_lowercase();
        let mut tags = with_parents(&language).filter_map(|tag| self.languages.get(tag));
        tags.find_map(|tag| self.environment.get_template(&format!("{tag}/{file}")).ok())
    }

    /// Checks the names of the variables in all templates, also in branches that the samples do not reach. Then checks
    /// that each language has all templates, and writes the samples.
    fn check(&self) -> Result<(), TemplateError> {
        for (name, template) in self.environment.templates() {
            self.check_variables(name, &template)?;
        }
        for tag in self.languages.values() {
            for family in &FAMILIES {
                self.check_family(tag, family)?;
            }
            for notice in samples::notices() {
                self.check_notice(tag, &notice)?;
            }
            self.check_push(tag)?;
        }
        Ok(())
    }

    /// Checks that a language has all templates of a family. It may have none of one that is optional.
    fn check_family(&self, language: &str, family: &Family) -> Result<(), TemplateError> {
        let missing: Vec<_> = family.files().filter(|file| self.find(language, file).is_none()).collect();
        match missing.first() {
            Some(file) if !family.is_optional || missing.len() < family.parts.len() => {
                let reason = if family.is_optional {
                    "the file is missing; a language has all templates with this beginning of the name, or none"
                } else {
                    "the file is missing; only a region of a language may omit templates"
                };
                Err(TemplateError::in_file(&format!("{language}/{file}"), reason))
            }
            _ => Ok(()),
        }
    }

    fn check_variables(&self, name: &str, template: &Template<'_, '_>) -> Result<(), TemplateError> {
        let notice = name.rsplit('/').next().and_then(|file| file.split('.').next());
        let (_, own) = VARIABLES.iter().find(|(prefix, _)| Some(*prefix) == notice).copied().unwrap_or_default();
        let known = |variable: &str| {
            own.iter().chain(&COMMON).any(|known| *known == variable)
                || self.environment.globals().any(|(global, _)| global == variable)
        };
        let variables = template.undeclared_variables(false);
        let Some(variable) = variables.iter().filter(|variable| !known(variable)).min() else { return Ok(()) };
        let lines = template.source().lines();
        let line = lines.take_while(|line| !line.contains(variable.as_str())).count() + 1;
        let allowed: Vec<_> = own.iter().chain(&COMMON).copied().collect();
        let reason = format!("there is no variable {variable}; allowed are {}", allowed.join(", "));
        Err(TemplateError::in_line(name, line, &reason))
    }

    /// Writes the e-mail and the SMS of a sample.
    fn check_notice(&self, language: &str, notice: &Notice) -> Result<(), TemplateError> {
        let file = |part: &str| format!("{language}/{}.{part}", notice.template());
        let mail = self.mail_in(language, notice).map_err(|error| wrong(&file(TEXT), &error))?;
        let mut texts = vec![(SUBJECT, mail.subject), (TEXT, mail.text), (HTML, mail.html)];
        if notice.has_sms() {
            texts.push((SMS, self.sms_in(language, notice).map_err(|error| wrong(&file(SMS), &error))?.text));
        }
        for (part, text) in texts {
            if text.trim().is_empty() {
                return Err(TemplateError::in_file(&file(part), "the text is empty"));
            }
            let digits: String = text.chars().filter(char::is_ascii_digit).collect();
            if part != SUBJECT && notice.code().is_some_and(|code| !digits.contains(code)) {
                return Err(TemplateError::in_file(&file(part), "the text does not have {{ code }}"));
            }
        }
        Ok(())
    }

    /// Writes samples of push notifications.
    fn check_push(&self, language: &str) -> Result<(), TemplateError> {
        let file = |part: &str| format!("{language}/{PUSH}.{part}");
        for saying in samples::sayings() {
            let text = self.push_in(language, &saying).map_err(|error| wrong(&file(BODY), &error))?;
            if text.body.is_none() {
                let reason = format!("the text is empty if kind is {}", saying.kind());
                return Err(TemplateError::in_file(&file(BODY), &reason));
            }
        }
        for preview in samples::attachments() {
            let text = self.preview_in(language, preview).map_err(|error| wrong(&file(PREVIEW), &error))?;
            if text.is_empty() {
                return Err(TemplateError::in_file(&file(PREVIEW), "the text is empty"));
            }
        }
        Ok(())
    }
}

/// Converts an error of the template engine. The error may be in another file, such as the layout.
fn wrong(file: &str, error: &RenderError) -> TemplateError {
    let detail = error.detail().map(|detail| format!(": {detail}")).unwrap_or_default();
    TemplateError::in_line(
        error.name().unwrap_or(file),
        error.line().unwrap_or(1),
        &format!("{}{detail}", error.kind()),
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;

    use super::super::notice::{CodeUse, ContactKind, DigestConversation, MAX_DIGEST_CONVERSATIONS, Recipient};
    use super::super::samples::SAMPLE_CODE;
    use super::*;

    const LANGUAGES: [&str; 5] = ["de", "en", "es", "fr", "pt"];
    /// Characters of GSM-7 beyond ASCII that the templates use (3GPP TS 23.038, section 6.2.1).
    const GSM_7: &str = "éèùìòÇØøÅåÆæßÉÄÖÑÜäöñüà";

    fn own() -> Templates {
        Templates::open(None, "Parlance").unwrap()
    }

    fn code(usage: CodeUse, minutes: u32) -> Notice {
        Notice::Code { code: SAMPLE_CODE.into(), usage, minutes }
    }

    fn parts(mail: &MailText) -> [&str; 3] {
        [&mail.subject, &mail.text, &mail.html]
    }

    /// Opens templates of a directory with one changed file. Returns the error.
    fn refusal(file: &str, text: &str) -> String {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        Templates::open(Some(directory.path()), "Parlance").err().unwrap().to_string()
    }

    #[test]
    fn each_language_has_texts_of_its_own() {
        let templates = own();
        assert_eq!(templates.languages.values().collect::<Vec<_>>(), LANGUAGES);
        for notice in samples::notices() {
            let mails = LANGUAGES.map(|language| templates.mail_in(language, &notice).unwrap());
            for part in 0..3 {
                let texts: BTreeSet<_> = mails.iter().map(|mail| parts(mail)[part]).collect();
                assert_eq!(texts.len(), LANGUAGES.len(), "{texts:?}");
            }
            for mail in &mails {
                assert!(mail.html.contains(&format!("lang=\"{}\"", mail.language)), "{}", mail.html);
            }
        }
    }

    #[test]
    fn the_first_line_of_a_text_has_the_code() {
        let templates = own();
        for (language, usage) in LANGUAGES.iter().flat_map(|language| CodeUse::ALL.map(|usage| (language, usage))) {
            let mail = templates.mail_in(language, &code(usage, 10)).unwrap();
            assert!(mail.text.starts_with(SAMPLE_CODE), "{}", mail.text);
            assert!(!mail.subject.contains(SAMPLE_CODE), "mail servers log subjects: {}", mail.subject);
            assert!(mail.text.lines().all(|line| !line.starts_with(' ')), "{}", mail.text);
        }
        let english = |usage, minutes| templates.mail_in("en", &code(usage, minutes)).unwrap().text;
        let texts = CodeUse::ALL.map(|usage| english(usage, 10));
        assert_eq!(texts.iter().collect::<BTreeSet<_>>().len(), texts.len(), "{texts:?}");
        assert!(english(CodeUse::Login, 1).contains("in 1 minute."));
        assert!(english(CodeUse::Login, 10).contains("in 10 minutes."));
    }

    #[test]
    fn an_sms_with_a_code_has_one_segment_and_names_the_action() {
        let templates = Templates::open(None, &"A".repeat(30)).unwrap();
        for language in LANGUAGES {
            let texts = CodeUse::ALL.map(|usage| templates.sms_in(language, &code(usage, 10)).unwrap().text);
            assert_eq!(texts.iter().collect::<BTreeSet<_>>().len(), texts.len(), "{texts:?}");
            for text in texts {
                let gsm_7 = text.chars().all(|c| c.is_ascii() || GSM_7.contains(c));
                let characters = text.chars().count();
                assert!(characters <= if gsm_7 { 160 } else { 70 }, "{characters} characters: {text}");
                assert!(text.starts_with(SAMPLE_CODE) && !text.contains('\n'), "{text}");
            }
        }
    }

    #[test]
    fn values_are_escaped_and_cannot_add_lines() {
        let username = "a<b>&\r\nBcc: eve@example.org".to_owned();
        let now = Some("x\n<script>".into());
        let notice = Notice::ContactPointChanged { username, kind: ContactKind::Email, now };
        let templates = Templates::open(None, "A & B").unwrap();
        let mail = templates.mail_in("en", &notice).unwrap();
        assert!(mail.text.contains("a<b>& Bcc: eve@example.org is now x <script>"), "{}", mail.text);
        assert!(mail.html.contains("a&lt;b&gt;&amp; Bcc"), "{}", mail.html);
        assert!(!mail.html.contains("<script>") && mail.html.contains("A &amp; B"), "{}", mail.html);
        assert!(!mail.subject.contains('\n'), "{}", mail.subject);
    }

    #[test]
    fn a_digest_lists_conversations_in_bounded_space() {
        let conversation = |name: &str, preview: &str| {
            let (name, preview) = (name.to_owned(), Some(preview.to_owned()));
            DigestConversation { name, unread: 2, preview }
        };
        let mut conversations = vec![conversation("a<b>\nc", "Hello\n- {{ x }}"), conversation("דנה", "שלום")];
        conversations.resize(MAX_DIGEST_CONVERSATIONS + 2, conversation("Ada", &"ä".repeat(1000)));
        let (username, links) = ("ada".to_owned(), None);
        let digest = Notice::Digest { username, unread: 44, conversations, others: 1, links };
        let mail = own().mail_in("en", &digest).unwrap();
        assert_eq!(mail.subject, "44 unread messages in Parlance");
        assert!(mail.text.contains("\n- a<b> c (2)\n  Hello - {{ x }}\n"), "{}", mail.text);
        assert!(mail.text.contains("\n- \u{2068}דנה\u{2069} (2)\n  \u{2068}שלום\u{2069}\n"), "{}", mail.text);
        assert!(mail.text.contains("\n- and 3 more conversations\n"), "{}", mail.text);
        assert_eq!(mail.text.matches("- Ada (2)").count(), MAX_DIGEST_CONVERSATIONS - 2);
        assert!(mail.text.chars().count() < 6000, "{}", mail.text);
        assert!(mail.html.contains("a&lt;b&gt; c</bdi> (2)<br><bdi>Hello"), "{}", mail.html);
        assert!(own().sms_in("en", &digest).is_err());
    }

    #[test]
    fn a_region_uses_the_templates_of_its_language() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("de-AT")).unwrap();
        fs::write(directory.path().join("de-AT/code.sms.txt"), "Servus {{ code }}").unwrap();
        let templates = Templates::open(Some(directory.path()), "Parlance").unwrap();
        let outgoing = |header| Outgoing {
            recipient: Recipient::Email("ada@example.com".into()),
            notice: code(CodeUse::Login, 10),
            language: Language::negotiate(Some(header)),
            network: None,
        };
        let austrian = templates.sms(&outgoing("de-AT")).unwrap();
        assert_eq!((austrian.text.as_str(), austrian.language.as_str()), ("Servus 482913", "de-AT"));
        let mail = templates.mail(&outgoing("de-AT")).unwrap();
        assert!(mail.text.contains("ist Ihr Code"), "{}", mail.text);
        assert!(templates.sms(&outgoing("de-CH")).unwrap().text.contains("ist Ihr Code"));
        assert!(templates.sms(&outgoing("nl")).unwrap().text.contains("is your"));
    }

    #[test]
    fn a_wrong_template_is_an_error_with_its_file_and_line() {
        let cases = [
            ("de/code.txt", "{{ code }}\n{% if %}", "de/code.txt, line 2: syntax error"),
            (
                "de/code.txt",
                "{{ code }}\n\n{{ user }}",
                "de/code.txt, line 3: there is no variable user; allowed are code",
            ),
            (
                "de/code.txt",
                "{{ code }}\n{% if false %}\n{{ now }}{% endif %}",
                "de/code.txt, line 3: there is no variable",
            ),
            ("layout.html", "{{ code }}", "layout.html, line 1: there is no variable code"),
            ("de/code.txt", "{{ code }}\n{{ code|shout }}", "de/code.txt, line 2: unknown filter"),
            ("de/code.sms.txt", "Hello", "de/code.sms.txt: the text does not have {{ code }}"),
            ("layout.html", "Hello", "de/code.html: the text does not have {{ code }}"),
            ("de/password_reset.subject.txt", " \n", "de/password_reset.subject.txt: the text is empty"),
            ("nl/code.txt", "{{ code }}", "nl/code.subject.txt: the file is missing"),
        ];
        for (file, text, expected) in cases {
            let error = refusal(file, text);
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
