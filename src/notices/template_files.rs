//! Reads the files of templates: the server's own ones, which are in the binary, and those of the operator.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use rust_embed::RustEmbed;

/// The frame of all HTML texts.
pub(super) const LAYOUT: &str = "layout.html";
/// The ends of the names of templates: the subject line, the plain text and the HTML of an e-mail, and the SMS; the
/// title, the body and the preview of attachments in a push notification.
pub(super) const SUBJECT: &str = "subject.txt";
pub(super) const TEXT: &str = "txt";
pub(super) const HTML: &str = "html";
pub(super) const SMS: &str = "sms.txt";
pub(super) const TITLE: &str = "title.txt";
pub(super) const BODY: &str = "body.txt";
pub(super) const PREVIEW: &str = "preview.txt";
/// The beginning of the names of the templates of push notifications.
pub(super) const PUSH: &str = "push";
/// The templates of each language.
pub(super) const FAMILIES: [Family; 8] = [
    Family::of_notice("code"),
    Family::of_notice("contact_point_added"),
    Family::of_notice("contact_point_changed"),
    Family::of_notice("factor_changed"),
    Family::of_notice("password_changed"),
    Family::of_notice("password_reset"),
    Family { name: "digest", parts: &[SUBJECT, TEXT, HTML], is_optional: true },
    Family { name: PUSH, parts: &[TITLE, BODY, PREVIEW], is_optional: true },
];
/// Maximum size of a template in bytes.
const MAX_BYTES: u64 = 256 * 1024;
/// Maximum number of characters of a language tag. RFC 5646, section 4.4.1, has tags of up to 35 characters.
const MAX_TAG: usize = 35;

/// The templates whose names have the same beginning.
pub(super) struct Family {
    /// The beginning of the names.
    name: &'static str,
    /// The ends of the names.
    pub(super) parts: &'static [&'static str],
    /// Whether a language may have none of the templates. The texts are then in the default language. These are the
    /// families that templates of earlier versions do not have.
    pub(super) is_optional: bool,
}

impl Family {
    const fn of_notice(name: &'static str) -> Self {
        Self { name, parts: &[SUBJECT, TEXT, HTML, SMS], is_optional: false }
    }

    /// Returns the names of the files.
    pub(super) fn files(&self) -> impl Iterator<Item = String> {
        self.parts.iter().map(|part| format!("{}.{part}", self.name))
    }
}

#[derive(RustEmbed)]
#[folder = "src/notices/templates"]
struct Embedded;

/// Reason why a template cannot be used. The text names the file, and the line if it is known.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct TemplateError(String);

impl TemplateError {
    pub(super) fn in_file(file: &str, reason: &str) -> Self {
        Self(format!("{file}: {reason}"))
    }

    pub(super) fn in_line(file: &str, line: usize, reason: &str) -> Self {
        Self(format!("{file}, line {line}: {reason}"))
    }

    fn unknown_name(name: &str) -> Self {
        let names = file_names().join(", ");
        let reason =
            format!("this is no template; allowed are {LAYOUT} and, in a directory for each language, {names}");
        Self::in_file(name, &reason)
    }
}

/// Returns the names of the templates of a language.
fn file_names() -> Vec<String> {
    FAMILIES.iter().flat_map(Family::files).collect()
}

/// Returns the server's own templates, replaced and extended by those of the directory. The keys are paths, such as
/// `de/code.html`.
pub(super) fn read_all(directory: Option<&Path>) -> Result<BTreeMap<String, String>, TemplateError> {
    let mut sources = embedded();
    if let Some(directory) = directory {
        add_directory(directory, &mut sources)?;
    }
    Ok(sources)
}

/// Returns the server's own templates by their paths.
fn embedded() -> BTreeMap<String, String> {
    let files = Embedded::iter().filter_map(|path| Some((path.to_string(), Embedded::get(&path)?)));
    files.map(|(path, file)| (path, String::from_utf8_lossy(&file.data).into_owned())).collect()
}

/// Adds the templates of a directory, by their paths in it. Hidden files are skipped, because volumes of Kubernetes
/// have some.
fn add_directory(directory: &Path, sources: &mut BTreeMap<String, String>) -> Result<(), TemplateError> {
    for (name, path) in entries(directory)? {
        if !path.is_dir() {
            if name != LAYOUT {
                return Err(TemplateError::unknown_name(&name));
            }
            sources.insert(name, read(&path)?);
            continue;
        }
        let tag = known_tag(&name, sources).ok_or_else(|| TemplateError::unknown_name(&name))?;
        for (file, path) in entries(&path)? {
            if !file_names().contains(&file) {
                return Err(TemplateError::unknown_name(&format!("{name}/{file}")));
            }
            sources.insert(format!("{tag}/{file}"), read(&path)?);
        }
    }
    Ok(())
}

/// Returns the tag of a language with the case of its existing templates. None if it is not a language tag (RFC 5646).
fn known_tag(name: &str, sources: &BTreeMap<String, String>) -> Option<String> {
    let subtag = |part: &str| (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if name.len() > MAX_TAG || !name.split('-').all(subtag) {
        return None;
    }
    let mut tags = sources.keys().filter_map(|path| path.split_once('/')).map(|(tag, _)| tag);
    Some(tags.find(|tag| tag.eq_ignore_ascii_case(name)).unwrap_or(name).to_owned())
}

/// Returns the names and paths of the entries of a directory that are not hidden, in the order of their names.
fn entries(directory: &Path) -> Result<BTreeMap<String, PathBuf>, TemplateError> {
    let failed = |error: io::Error| TemplateError::in_file(&directory.display().to_string(), &error.to_string());
    let entries = fs::read_dir(directory).map_err(failed)?.collect::<io::Result<Vec<_>>>().map_err(failed)?;
    let named = entries.into_iter().map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()));
    Ok(named.filter(|(name, _)| !name.starts_with('.')).collect())
}

fn read(path: &Path) -> Result<String, TemplateError> {
    let failed = |reason: String| TemplateError::in_file(&path.display().to_string(), &reason);
    let size = fs::metadata(path).map_err(|error| failed(error.to_string()))?.len();
    if size > MAX_BYTES {
        return Err(failed(format!("a template has at most {MAX_BYTES} bytes")));
    }
    fs::read_to_string(path).map_err(|error| failed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(files: &[(&str, &str)]) -> Result<BTreeMap<String, String>, TemplateError> {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        read_all(Some(directory.path()))
    }

    #[test]
    fn a_directory_replaces_templates_and_adds_languages() {
        let files = [("layout.html", "frame"), ("DE/code.txt", "own"), ("de-AT/code.sms.txt", "new"), (".git/x", "")];
        let sources = read(&files).unwrap();
        assert_eq!(sources["layout.html"], "frame");
        assert_eq!(sources["de/code.txt"], "own", "the case of a tag does not matter");
        assert_eq!(sources["de-AT/code.sms.txt"], "new");
        assert_eq!(sources.len(), embedded().len() + 1);
    }

    #[test]
    fn a_file_with_an_unknown_name_is_an_error() {
        for (name, reported) in [
            ("code.txt", "code.txt"),
            ("de/code.text", "de/code.text"),
            ("de_AT/code.txt", "de_AT"),
            ("deutschland/code.txt", "deutschland"),
        ] {
            let error = read(&[(name, "text")]).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{reported}: this is no template; allowed are")), "{error}");
        }
    }

    #[test]
    fn a_directory_that_does_not_exist_and_a_large_file_are_errors() {
        let missing = read_all(Some(Path::new("/no/such/directory"))).unwrap_err().to_string();
        assert!(missing.starts_with("/no/such/directory: "), "{missing}");
        let large = "a".repeat(usize::try_from(MAX_BYTES).unwrap() + 1);
        let error = read(&[("de/code.txt", large.as_str())]).unwrap_err().to_string();
        assert!(error.contains("de/code.txt: a template has at most"), "{error}");
    }
}
