//! Random names, titles and texts of messages.

use rand::RngExt as _;
use rand::rngs::StdRng;

const GIVEN_NAMES: [&str; 48] = [
    "Ada", "Amira", "Anna", "Aylin", "Ben", "Björn", "Chidi", "Chloé", "Clara", "Daan", "Diego", "Elif", "Emma",
    "Farid", "Fatou", "Grace", "Hana", "Hugo", "Ines", "Ivan", "Jonas", "Julia", "Kenji", "Kofi", "Lars", "Lena",
    "Lucía", "Malik", "Mateo", "Maya", "Mei", "Mila", "Nadia", "Noah", "Nora", "Olga", "Omar", "Paula", "Priya",
    "Rafael", "Samir", "Sofia", "Tariq", "Tomás", "Uma", "Wei", "Yuki", "Zoe",
];
const FAMILY_NAMES: [&str; 48] = [
    "Adeyemi",
    "Andersson",
    "Bauer",
    "Becker",
    "Bianchi",
    "Chen",
    "Costa",
    "Demir",
    "Dubois",
    "Eriksen",
    "Fernández",
    "Fischer",
    "García",
    "Haddad",
    "Hansen",
    "Hoffmann",
    "Ito",
    "Ivanova",
    "Jansen",
    "Kaya",
    "Keller",
    "Kim",
    "Kowalski",
    "Kumar",
    "Lefèvre",
    "Lindqvist",
    "Lopez",
    "Marino",
    "Mensah",
    "Meyer",
    "Moreau",
    "Müller",
    "Nakamura",
    "Nguyen",
    "Novak",
    "Okafor",
    "Park",
    "Patel",
    "Petrov",
    "Rossi",
    "Santos",
    "Schmidt",
    "Silva",
    "Tanaka",
    "Virtanen",
    "Wang",
    "Weber",
    "Yilmaz",
];
const ABOUT: [&str; 10] = [
    "Coffee first.",
    "Mostly on the bike.",
    "Reads more than she writes.",
    "At the workshop until six.",
    "Ask me about bread.",
    "Two cats, one garden.",
    "Slow to answer, quick to laugh.",
    "Night shift this month.",
    "Plays the cello, badly.",
    "Somewhere between Lisbon and Oslo.",
];
const TITLES: [&str; 8] = [
    "{thing} club",
    "{place} trip",
    "Team {place}",
    "{thing} and friends",
    "{place} neighbours",
    "Family",
    "Saturday {thing}",
    "Plans for the {place}",
];

const PLACES: [&str; 32] = [
    "station", "harbour", "office", "library", "market", "park", "museum", "airport", "kitchen", "garden", "lake",
    "theatre", "bakery", "school", "clinic", "bridge", "cinema", "stadium", "workshop", "terrace", "beach", "forest",
    "hotel", "studio", "square", "gallery", "gym", "campsite", "cellar", "rooftop", "ferry", "island",
];
const THINGS: [&str; 40] = [
    "tickets",
    "coffee",
    "keys",
    "report",
    "photos",
    "bread",
    "tent",
    "invoice",
    "piano",
    "bicycle",
    "camera",
    "soup",
    "projector",
    "umbrella",
    "contract",
    "playlist",
    "charger",
    "map",
    "guitar",
    "cake",
    "slides",
    "telescope",
    "printer",
    "passport",
    "lamp",
    "cheese",
    "boat",
    "recipe",
    "ladder",
    "puzzle",
    "sofa",
    "medicine",
    "parcel",
    "blanket",
    "calendar",
    "drill",
    "violin",
    "compass",
    "kettle",
    "notebook",
];
const TIMES: [&str; 20] = [
    "tomorrow",
    "tonight",
    "on Monday",
    "on Friday",
    "at noon",
    "at seven",
    "next week",
    "after work",
    "before lunch",
    "in an hour",
    "on the weekend",
    "later",
    "this evening",
    "at half past eight",
    "in the morning",
    "on Sunday",
    "any minute",
    "around ten",
    "after the meeting",
    "when you can",
];
const ENGLISH: [&str; 40] = [
    "See you {time} at the {place}.",
    "Did you bring the {thing}?",
    "I left the {thing} at the {place}, can you have a look {time}?",
    "Sounds good!",
    "Yes, {time} works for me.",
    "No idea, ask at the {place}.",
    "Running late, be there {time}.",
    "Who takes the {thing} to the {place}?",
    "Haha, that {thing} again",
    "Thanks a lot 🙏",
    "The {place} is closed {time}, how about the {place}?",
    "Just sent you the {thing}.",
    "Can we move it? {time} would be better, I still have to finish the {thing} and somebody needs to open the {place}.",
    "ok",
    "On my way",
    "I think the {thing} is broken. It worked yesterday at the {place}, and since then nothing.",
    "Good morning!",
    "Has anybody seen my {thing}? I had it {time} and now it's gone.",
    "Let's meet at the {place} and talk about the {thing} there.",
    "Perfect, then {time}.",
    "What do you think of the new {thing}?",
    "Not bad at all 😄",
    "I'll check and tell you {time}",
    "We need two more for the {place}.",
    "Could you send me the {thing} again? I can't find it.",
    "Happy birthday! 🎉 Cake is at the {place}.",
    "Please don't forget the {thing}",
    "The {thing} costs 40 at the {place}, 35 if we take it {time}.",
    "lol",
    "Call me {time}?",
    "It's raining at the {place}, take the {thing} with you.",
    "Done ✅",
    "My sister comes {time}, so the {place} is taken.",
    "Short version: the {thing} is late, the {place} is booked, and we decide {time}.",
    "Same here",
    "Where exactly at the {place}?",
    "Next to the {thing}, you can't miss it",
    "That was a long day. Tea, {thing}, bed.",
    "Great work on the {thing}, everybody at the {place} liked it.",
    "Let me know {time}.",
];
const GERMAN: [&str; 8] = [
    "Bis morgen am Bahnhof!",
    "Hast du die Schlüssel dabei?",
    "Klingt gut, ich bringe Brötchen mit.",
    "Ich verspäte mich um zehn Minuten.",
    "Danke dir, das war sehr schön gestern.",
    "Wer übernimmt die Rechnung für den Saal?",
    "Schau mal, das Foto aus München ist da.",
    "Können wir das auf Donnerstag verschieben?",
];
const SPANISH: [&str; 6] = [
    "¿Nos vemos mañana en la estación?",
    "Perfecto, yo llevo el café.",
    "No encuentro las entradas, ¿las tienes tú?",
    "Llego tarde, empezad sin mí.",
    "¡Feliz cumpleaños!",
    "El informe está listo, lo envío esta noche.",
];
const RUSSIAN: [&str; 5] = [
    "Увидимся завтра на вокзале.",
    "Спасибо, всё получилось!",
    "Кто возьмёт билеты?",
    "Я немного опаздываю.",
    "Отчёт готов, посмотри вечером.",
];
const CHINESE: [&str; 6] = [
    "明天在车站见。",
    "票你带了吗？",
    "好的，没问题！",
    "我在图书馆，晚一点到。",
    "会议改到星期五下午三点。",
    "照片已经发给你了，谢谢。",
];
const JAPANESE: [&str; 6] = [
    "明日、駅で会いましょう。",
    "チケットは持っていますか？",
    "ありがとうございます！",
    "少し遅れます、すみません。",
    "会議は金曜日の三時からです。",
    "写真を送りました。",
];
const KOREAN: [&str; 6] = [
    "내일 역에서 만나요.",
    "표 가져왔어요?",
    "네, 좋아요!",
    "조금 늦을 것 같아요.",
    "회의는 금요일 오후 세 시예요.",
    "사진 보냈어요, 고마워요.",
];

#[derive(Clone, Copy, Debug)]
pub(super) enum Language {
    English,
    Other(&'static [&'static str]),
}

impl Language {
    /// Picks the language of all messages of a conversation. Most conversations are in English.
    pub(super) fn pick(rng: &mut StdRng) -> Self {
        match rng.random_range(0..20) {
            0 => Self::Other(&GERMAN),
            1 => Self::Other(&SPANISH),
            2 => Self::Other(&RUSSIAN),
            3 => Self::Other(&CHINESE),
            4 => Self::Other(&JAPANESE),
            5 => Self::Other(&KOREAN),
            _ => Self::English,
        }
    }
}

/// Returns a random given name and a random family name.
pub(super) fn name(rng: &mut StdRng) -> (&'static str, &'static str) {
    (any(&GIVEN_NAMES, rng), any(&FAMILY_NAMES, rng))
}

/// Converts a name to the letters that are allowed in a username.
pub(super) fn to_ascii(name: &str) -> String {
    let letter = |c: char| match c {
        'ö' => 'o',
        'ü' => 'u',
        'á' => 'a',
        'é' | 'è' => 'e',
        'í' => 'i',
        other => other,
    };
    name.to_lowercase().chars().map(letter).filter(char::is_ascii_lowercase).collect()
}

pub(super) fn about(rng: &mut StdRng) -> Option<&'static str> {
    rng.random_bool(0.4).then(|| any(&ABOUT, rng))
}

pub(super) fn title(rng: &mut StdRng) -> String {
    let filled = fill(any(&TITLES, rng), rng);
    let mut letters = filled.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

pub(super) fn body(language: Language, rng: &mut StdRng) -> String {
    match language {
        Language::English => fill(any(&ENGLISH, rng), rng),
        // Some texts get a number, such as in a date, a price or an address.
        Language::Other(said) if rng.random_bool(0.2) => format!("{} {}", any(said, rng), rng.random_range(2..200)),
        Language::Other(said) => any(said, rng).to_owned(),
    }
}

fn any(choices: &'static [&'static str], rng: &mut StdRng) -> &'static str {
    choices[rng.random_range(0..choices.len())]
}

/// Replaces each placeholder in braces with a random word.
fn fill(pattern: &str, rng: &mut StdRng) -> String {
    let mut filled = String::with_capacity(pattern.len() + 16);
    let mut rest = pattern;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, behind) = after.split_once('}').unwrap_or((after, ""));
        filled.push_str(before);
        filled.push_str(match name {
            "place" => any(&PLACES, rng),
            "thing" => any(&THINGS, rng),
            _ => any(&TIMES, rng),
        });
        rest = behind;
    }
    filled.push_str(rest);
    filled
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    #[test]
    fn all_names_give_usernames_and_all_placeholders_are_replaced() {
        for name in GIVEN_NAMES.iter().chain(&FAMILY_NAMES) {
            assert_eq!(to_ascii(name).len(), name.chars().count(), "{name}");
        }
        let mut rng = StdRng::seed_from_u64(1);
        for pattern in ENGLISH.iter().chain(&TITLES) {
            assert!(!fill(pattern, &mut rng).contains(['{', '}']), "{pattern}");
        }
    }
}
