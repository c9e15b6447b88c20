//! The templates of notices: the server's own ones, and those of the operator. All are checked when they are read.

use std::collections::BTreeMap;
use std::path::Path;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error as RenderError, Template, UndefinedBehavior, Value, context};

use super::language::{DEFAULT, Language, with_parents};
use super::notice::{CodeUse, ContactKind, FactorChange, Notice, Outgoing};
use super::template_files::{HTML, LAYOUT, SMS, SUBJECT, TEXT, TemplateError, file_names, read_all};

/// The variables of each notice, in addition to `COMMON`. The keys are the beginnings of the names of templates.
const VARIABLES: [(&str, &[&str]); 6] = [
    ("code", &["code", "purpose", "minutes"]),
    ("contact_point_added", &["username", "kind", "now"]),
    ("contact_point_changed", &["username", "kind", "now"]),
    ("password_changed", &["username", "first"]),
    ("password_reset", &["username"]),
    ("factor_changed", &["username", "change", "passkey", "issuer", "codes_left"]),
];
/// Variables of all templates.
const COMMON: [&str; 2] = ["app_name", "language"];
/// The code in the sample texts that check the templates.
const SAMPLE_CODE: &str = "482913";

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
    /// notices with sample values, so that a wrong template is an error now and not when a notice is sent.
    pub(super) fn open(directory: Option<&Path>, app_name: &str) -> Result<Self, TemplateError> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|error| wrong(LAYOUT, &error))?);
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

    fn mail_in(&self, language: &str, notice: &Notice) -> Result<MailText, RenderError> {
        let values = self.values(language, notice);
        let render = |part| self.template(language, notice.template(), part)?.render(&values);
        Ok(MailText {
            subject: one_line(&render(SUBJECT)?),
            text: format!("{}\n", render(TEXT)?.trim()),
            html: format!("{}\n", render(HTML)?.trim()),
            language: language.to_owned(),
        })
    }

    fn sms_in(&self, language: &str, notice: &Notice) -> Result<SmsText, RenderError> {
        let values = self.values(language, notice);
        let text = self.template(language, notice.template(), SMS)?.render(&values)?;
        Ok(SmsText { text: text.trim().to_owned(), language: language.to_owned() })
    }

    /// Returns the template of a language, or else of a more general language, such as `de` for `de-AT`.
    fn template(&self, language: &str, notice: &str, part: &str) -> Result<Template<'_, '_>, RenderError> {
        let language = language.to_ascii_lowercase();
        let tags = with_parents(&language).filter_map(|tag| self.languages.get(tag));
        let mut found = tags.map(|tag| self.environment.get_template(&format!("{tag}/{notice}.{part}")));
        found
            .find(Result::is_ok)
            .unwrap_or_else(|| self.environment.get_template(&format!("{DEFAULT}/{notice}.{part}")))
    }

    /// Returns the variables of a notice. Their values have no control characters, so that they cannot add lines.
    fn values(&self, language: &str, notice: &Notice) -> Value {
        let common = context! { app_name => &self.app_name, language };
        match notice {
            Notice::Code { code, usage, minutes } => {
                context! { code => one_line(code), purpose => usage.as_str(), minutes => *minutes, ..common }
            }
            Notice::ContactPointAdded { username, kind, now } => {
                context! { username => one_line(username), kind => kind.as_str(), now => one_line(now), ..common }
            }
            Notice::ContactPointChanged { username, kind, now } => {
                let now = now.as_deref().map(one_line);
                context! { username => one_line(username), kind => kind.as_str(), now, ..common }
            }
            Notice::PasswordChanged { username, is_first } => {
                context! { username => one_line(username), first => *is_first, ..common }
            }
            Notice::PasswordReset { username } => context! { username => one_line(username), ..common },
            Notice::FactorChanged { username, change } => context! {
                username => one_line(username), change => change.as_str(), passkey => change.passkey().map(one_line),
                issuer => change.issuer().map(one_line), codes_left => change.codes_left(), ..common
            },
        }
    }

    /// Checks the names of the variables in all templates, also in branches that the samples do not reach. Then checks
    /// that each language has all templates, and writes the samples.
    fn check(&self) -> Result<(), TemplateError> {
        for (name, template) in self.environment.templates() {
            self.check_variables(name, &template)?;
        }
        for tag in self.languages.values() {
            for name in file_names() {
                let lower = tag.to_ascii_lowercase();
                let mut tags = with_parents(&lower).filter_map(|tag| self.languages.get(tag));
                if !tags.any(|tag| self.environment.get_template(&format!("{tag}/{name}")).is_ok()) {
                    let reason = "the file is missing; only a region of a language may omit templates";
                    return Err(TemplateError::in_file(&format!("{tag}/{name}"), reason));
                }
            }
            for notice in samples() {
                self.check_sample(tag, &notice)?;
            }
        }
        Ok(())
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

    fn check_sample(&self, language: &str, notice: &Notice) -> Result<(), TemplateError> {
        let file = |part: &str| format!("{language}/{}.{part}", notice.template());
        let mail = self.mail_in(language, notice).map_err(|error| wrong(&file(TEXT), &error))?;
        let sms = self.sms_in(language, notice).map_err(|error| wrong(&file(SMS), &error))?;
        let texts = [(SUBJECT, &mail.subject), (TEXT, &mail.text), (HTML, &mail.html), (SMS, &sms.text)];
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

/// Returns notices with values that reach as many branches of a template as possible.
fn samples() -> Vec<Notice> {
    let username = || "ada".to_owned();
    let mut samples = CodeUse::ALL.map(|usage| Notice::Code { code: SAMPLE_CODE.into(), usage, minutes: 10 }).to_vec();
    for (kind, now) in [(ContactKind::Email, "a…@example.org"), (ContactKind::Phone, "•••• 5678")] {
        samples.push(Notice::ContactPointAdded { username: username(), kind, now: now.into() });
        samples.push(Notice::ContactPointChanged { username: username(), kind, now: Some(now.into()) });
        samples.push(Notice::ContactPointChanged { username: username(), kind, now: None });
    }
    samples.extend([false, true].map(|is_first| Notice::PasswordChanged { username: username(), is_first }));
    samples.push(Notice::PasswordReset { username: username() });
    samples.extend(factor_changes().map(|change| Notice::FactorChanged { username: username(), change }));
    samples
}

/// Returns all kinds of changes of factors.
fn factor_changes() -> [FactorChange; 9] {
    let (name, issuer) = (|| "Phone".to_owned(), || "acme".to_owned());
    [
        FactorChange::TotpAdded,
        FactorChange::TotpRemoved,
        FactorChange::RecoveryCodesReplaced,
        FactorChange::RecoveryCodeUsed { left: 1 },
        FactorChange::RecoveryCodeUsed { left: 9 },
        FactorChange::PasskeyAdded { name: name() },
        FactorChange::PasskeyRemoved { name: name() },
        FactorChange::IdentityLinked { issuer: issuer() },
        FactorChange::IdentityUnlinked { issuer: issuer() },
    ]
}

/// Replaces each run of white space and control characters with one space.
fn one_line(text: &str) -> String {
    let parts = text.split(|c: char| c.is_whitespace() || c.is_control());
    parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;

    use super::super::notice::Recipient;
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
        for notice in samples() {
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
