//! The link in digests that turns them off. A POST request turns them off at once, also without a browser (RFC 8058). A
//! GET request shows a page that asks first, because mail filters open links.

use std::collections::BTreeMap;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;

use super::caller::language;
use super::{Server, header};
use crate::domain::Error;
use crate::domain::push::digests::UNSUBSCRIBE_PATH;

/// Allows the page to send its form to this origin, and nothing else.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// The texts of the page in one language.
struct Texts {
    language: &'static str,
    question: &'static str,
    button: &'static str,
    done: &'static str,
    invalid: &'static str,
    failed: &'static str,
}

/// The texts in all languages. The first language is the default.
static TEXTS: [Texts; 5] = [
    Texts {
        language: "en",
        question: "Do you want to get no more e-mails about unread messages?",
        button: "Unsubscribe",
        done: "You get no more e-mails about unread messages. You can turn them on again in the settings of the app.",
        invalid: "This link is not valid. The newest e-mail about unread messages has a link that works.",
        failed: "This did not work. Try again later.",
    },
    Texts {
        language: "de",
        question: "Möchten Sie keine E-Mails über ungelesene Nachrichten mehr erhalten?",
        button: "Abbestellen",
        done: "Sie erhalten keine E-Mails über ungelesene Nachrichten mehr. In den Einstellungen der App können Sie \
               diese E-Mails wieder einschalten.",
        invalid: "Dieser Link ist ungültig. Die neueste E-Mail über ungelesene Nachrichten enthält einen gültigen.",
        failed: "Das hat nicht funktioniert. Versuchen Sie es später noch einmal.",
    },
    Texts {
        language: "es",
        question: "¿Quiere dejar de recibir correos sobre mensajes no leídos?",
        button: "Cancelar la suscripción",
        done: "Ya no recibirá correos sobre mensajes no leídos. Puede volver a activarlos en los ajustes de la \
               aplicación.",
        invalid: "Este enlace no es válido. El último correo sobre mensajes no leídos contiene uno válido.",
        failed: "No ha funcionado. Inténtelo de nuevo más tarde.",
    },
    Texts {
        language: "fr",
        question: "Voulez-vous ne plus recevoir d’e-mails sur les messages non lus ?",
        button: "Se désabonner",
        done: "Vous ne recevrez plus d’e-mails sur les messages non lus. Vous pouvez les réactiver dans les paramètres \
               de l’application.",
        invalid: "Ce lien n’est pas valide. Le dernier e-mail sur les messages non lus en contient un valide.",
        failed: "Cela n’a pas fonctionné. Réessayez plus tard.",
    },
    Texts {
        language: "pt",
        question: "Quer deixar de receber e-mails sobre mensagens não lidas?",
        button: "Cancelar a subscrição",
        done: "Já não receberá e-mails sobre mensagens não lidas. Pode voltar a ativá-los nas definições da aplicação.",
        invalid: "Esta ligação não é válida. O e-mail mais recente sobre mensagens não lidas tem uma válida.",
        failed: "Não funcionou. Tente novamente mais tarde.",
    },
];

/// The query of the link.
#[derive(Deserialize)]
struct Link {
    #[serde(default)]
    token: String,
}

/// Returns the route. No answer may be cached or indexed, because the address has a token.
pub(super) fn router() -> Router<Server> {
    Router::new()
        .route(UNSUBSCRIBE_PATH, get(ask).post(unsubscribe))
        .route_layer(header(CACHE_CONTROL, "no-store"))
        .route_layer(header(CONTENT_SECURITY_POLICY, POLICY))
}

/// Shows a button that sends the POST request to the same address.
async fn ask(headers: HeaderMap) -> Response {
    let texts = texts(&headers);
    let (question, button) = (texts.question, texts.button);
    let form = format!("<p>{question}</p>\n<form method=\"post\"><button>{button}</button></form>");
    page(texts, StatusCode::OK, &form)
}

/// Turns the digests off. The body is not read, because every POST request to the link has this effect.
async fn unsubscribe(State(server): State<Server>, Query(link): Query<Link>, headers: HeaderMap) -> Response {
    let texts = texts(&headers);
    let (status, text) = match server.app.digests().unsubscribe(&link.token).await {
        Ok(()) => (StatusCode::OK, texts.done),
        Err(Error::NotFound(_)) => (StatusCode::NOT_FOUND, texts.invalid),
        Err(error) => {
            tracing::warn!(?error, "turning digests off failed");
            (StatusCode::SERVICE_UNAVAILABLE, texts.failed)
        }
    };
    page(texts, status, &format!("<p>{text}</p>"))
}

fn page(texts: &Texts, status: StatusCode, content: &str) -> Response {
    let (language, title) = (texts.language, texts.button);
    let page = format!(
        "<!doctype html>
<html lang=\"{language}\">
<head>
<meta charset=\"utf-8\">
<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">
<meta name=\"color-scheme\" content=\"light dark\">
<meta name=\"robots\" content=\"noindex\">
<title>{title}</title>
<style>body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 30rem; margin: 3rem auto; padding: 0 1rem }}
button {{ font: inherit; padding: .5rem 1rem }}</style>
</head>
<body>
<main>
{content}
</main>
</body>
</html>
"
    );
    (status, Html(page)).into_response()
}

/// Returns the texts in the language that the browser prefers.
fn texts(headers: &HeaderMap) -> &'static Texts {
    let tags = TEXTS.iter().map(|texts| (texts.language.to_owned(), texts.language.to_owned()));
    let available: BTreeMap<_, _> = tags.collect();
    let preferred = language(headers);
    let matched = preferred.matched(&available);
    TEXTS.iter().find(|texts| Some(texts.language) == matched).unwrap_or(&TEXTS[0])
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use axum::http::header::ACCEPT_LANGUAGE;

    use super::*;

    #[test]
    fn the_page_has_the_language_that_the_browser_prefers() {
        for (accepted, expected) in [
            ("de-AT,de;q=0.9,en;q=0.8", "de"),
            ("nl, PT-br;q=0.7", "pt"),
            ("nl", "en"),
            ("*", "en"),
            ("", "en"),
            (";;,,-", "en"),
        ] {
            let headers = HeaderMap::from_iter([(ACCEPT_LANGUAGE, HeaderValue::from_static(accepted))]);
            assert_eq!(texts(&headers).language, expected, "{accepted}");
        }
        assert_eq!(texts(&HeaderMap::new()).language, "en");
    }
}
