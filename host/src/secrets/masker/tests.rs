//! What a masker lets through, and what it does not.

use proptest::prelude::*;

use super::*;

const SECRET: &str = r#"p&ss "w/ö'd<1"#;

fn masked(secrets: &[&str], text: &str) -> String {
    Masker::new(secrets.iter().copied()).mask(text).into_owned()
}

#[test]
fn a_secret_is_masked_in_the_forms_in_which_programs_write_it() {
    let base64 = base64::engine::general_purpose::STANDARD;
    let json = serde_json::Value::from(SECRET).to_string();
    let mut hex = String::new();
    for byte in SECRET.bytes() {
        write!(hex, "{byte:02X}").unwrap();
    }
    let forms = [
        SECRET.to_owned(),
        json[1..json.len() - 1].to_owned(),
        r#"p&ss \"w\/ö'd<1"#.to_owned(),
        r#"p&ss \"w/\u00f6'd<1"#.to_owned(),
        "p%26ss%20%22w%2F%C3%B6%27d%3C1".to_owned(),
        "p%26ss%20%22w%2f%c3%b6%27d%3c1".to_owned(),
        "p%26ss+%22w%2F%C3%B6%27d%3C1".to_owned(),
        "p%26ss%20%22w%2F%C3%B6'd%3C1".to_owned(),
        "p&amp;ss &quot;w/ö&#39;d&lt;1".to_owned(),
        "p&amp;ss &quot;w/ö&#x27;d&lt;1".to_owned(),
        "p&amp;ss \"w/ö'd&lt;1".to_owned(),
        format!("{SECRET:?}").trim_matches('"').to_owned(),
        hex.clone(),
        hex.to_ascii_lowercase(),
    ];
    for form in &forms {
        assert_eq!(masked(&[SECRET], &format!("a {form} b")), "a *** b");
    }
    for around in ["", "u", "us", "usr:"] {
        let encoded = base64.encode(format!("{around}{SECRET}{around}"));
        let masked = masked(&[SECRET], &encoded);
        assert!(masked.contains("***") && masked.len() < around.len() * 4 + 12, "{encoded}: {masked}");
    }
}

#[test]
fn the_beginning_of_a_secret_at_a_cut_is_masked() {
    let masker = Masker::new(["swordfish", "a swordfish-2"]);
    for (cut, masked) in [
        ("it is swordf", "it is ***"),
        ("it is swordfish", "it is ***"),
        ("swordfish, swordfish-", "***, ***-"),
        ("it is a swordfish-", "it is ***"),
        ("it is c3dvcm", "it is ***"),
        ("it is no cat", "it is no cat"),
        ("", ""),
    ] {
        assert_eq!(masker.mask_cut(cut), masked, "{cut}");
    }
}

#[test]
fn each_line_of_a_key_is_a_secret() {
    let key = "-----BEGIN KEY-----\nMIIEvQIBADANBg\n  kqhkiG9w0BAQEF\n-----END KEY-----\n";
    assert_eq!(masked(&[key], "it is kqhkiG9w0BAQEF!"), "it is ***!");
    assert_eq!(masked(&[key], &format!("<{key}>")), "<***>");
    assert_eq!(masked(&[key], &format!("<{}>", key.replace('\n', "\\n"))), "<***>");
}

#[test]
fn what_is_no_secret_stays() {
    assert_eq!(masked(&["abcd", ""], "abcd"), "abcd");
    assert_eq!(masked(&[], "anything"), "anything");
    assert_eq!(masked(&["hunter22"], "hunter2 hunter"), "hunter2 hunter");
    assert!(matches!(Masker::new(["hunter22"]).mask("hunter2"), Cow::Borrowed(_)));
}

#[test]
fn overlapping_secrets_leave_nothing_of_each_other() {
    assert_eq!(masked(&["abcdef", "defghi"], "-abcdefghi-"), "-***-");
    assert_eq!(masked(&["abcdef", "abcdefgh"], "-abcdefgh-abcdefg-"), "-***-***g-");
    assert_eq!(masked(&["abcdef"], "abcdefabcdef"), "******");
}

#[test]
fn a_secret_over_two_pieces_is_masked_and_the_rest_is_not_held_back() {
    let mut stream = Masker::new(["hunter22"]).stream();
    assert_eq!(stream.push(b"password: hunt"), b"password: ");
    assert!(stream.is_holding());
    assert_eq!(stream.push(b"er22!"), b"***!");
    assert!(!stream.is_holding());
    assert_eq!(stream.push(b"no hunt\n"), b"no hunt\n");
    assert_eq!(stream.push(b"hunter"), b"");
    assert_eq!(stream.finish(), b"hunter");
    assert_eq!(stream.push(b"22"), b"22");
}

#[test]
fn a_long_secret_is_masked_without_a_long_automaton() {
    let secret: String = (0..20_000_u32).map(|at| char::from(b'a' + u8::try_from(at * at % 26).unwrap())).collect();
    assert_eq!(masked(&[&secret], &format!("<{secret}>")), "<***>");
}

#[test]
fn secrets_that_begin_alike_are_told_apart_and_looked_for_together() {
    let start = "2026-11-23T00:00:00+00:00,sensor-north-";
    let lines: Vec<String> = ["a", "ab", "abc-1", "b"].iter().map(|end| format!("{start}{end}")).collect();
    let secrets: Vec<&str> = lines.iter().map(String::as_str).collect();
    for (end, shown) in [("ab!", "***!"), ("abc-2", "***c-2"), ("abc-1", "***"), ("az", "***z"), ("b", "***")] {
        assert_eq!(masked(&secrets, &format!("{start}{end}")), shown, "{end}");
    }
    let other = format!("{start}c");
    assert_eq!(masked(&secrets, &other), other);

    let many: Vec<String> = (0..1_000).map(|at| format!("{start}{at:04}")).collect();
    let masker = Masker::new(many.iter().map(String::as_str));
    let Patterns { groups, sorted, .. } = &*masker.shared;
    assert!(sorted.len() > 5_000 && groups.len() < 50, "{} in {} groups", sorted.len(), groups.len());
    assert_eq!(masker.mask(&many[7]), "***");
}

#[test]
fn a_secret_that_repeats_itself_costs_no_more_than_another() {
    let secret = "a".repeat(20_000);
    let text = "a".repeat(200_000);
    // With its line end it is a file's.
    assert_eq!(masked(&[&format!("{secret}\n")], &text), "***");
    let nearly = format!("{}b", &secret[1..]).repeat(10);
    assert_eq!(masked(&[&secret], &nearly), nearly);
}

/// Where patterns stand in `text`, looked for at each place of it.
fn regions_by_looking(patterns: &[Vec<u8>], text: &[u8]) -> Vec<(usize, usize)> {
    let mut regions: Vec<(usize, usize)> = Vec::new();
    for start in 0..text.len() {
        let standing = patterns.iter().filter(|pattern| text[start..].starts_with(pattern));
        let Some(length) = standing.map(Vec::len).max() else { continue };
        match regions.last_mut() {
            Some(last) if start < last.1 => last.1 = last.1.max(start + length),
            _ => regions.push((start, start + length)),
        }
    }
    regions
}

/// Few letters and short secrets, so that they overlap and nearly match.
fn secrets() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec("[ab]{5,9}", 1..4)
}

/// Secrets longer than a needle that repeat themselves, some of which begin alike.
fn repeating_secrets() -> impl Strategy<Value = Vec<String>> {
    let secret = ("[ab]{1,3}", 40_usize..90).prop_map(|(part, length)| part.repeat(length)[..length].to_owned());
    prop::collection::vec(secret, 1..4)
}

proptest! {
    #[test]
    fn secrets_that_repeat_themselves_are_found_wherever_they_are(
        secrets in repeating_secrets(),
        pieces in prop::collection::vec((0_usize..4, 0_usize..90, "[ab]{0,2}"), 0..8),
    ) {
        let masker = Masker::new(secrets.iter().map(String::as_str));
        let text = pieces.iter().fold(String::new(), |text, (secret, length, rest)| {
            let secret = &secrets[secret % secrets.len()];
            text + &secret[..secret.len().min(*length)] + rest
        });
        let shared = &masker.shared;
        prop_assert!(!shared.repeating.is_empty());
        prop_assert_eq!(shared.regions(text.as_bytes()), regions_by_looking(&shared.sorted, text.as_bytes()));
    }

    #[test]
    fn output_holds_no_secret_and_does_not_depend_on_how_the_input_is_cut(
        secrets in secrets(),
        text in "[abc]{0,60}",
        cuts in prop::collection::vec(0_usize..60, 0..6),
    ) {
        let masker = Masker::new(secrets.iter().map(String::as_str));
        let whole = masker.mask(&text).into_owned();
        for secret in &secrets {
            prop_assert!(!whole.contains(secret.as_str()), "{} in {}", secret, whole);
        }
        let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(text.len())).chain([0, text.len()]).collect();
        cuts.sort_unstable();
        let mut stream = masker.stream();
        let mut out = Vec::new();
        for piece in cuts.windows(2) {
            out.extend(stream.push(&text.as_bytes()[piece[0]..piece[1]]));
        }
        out.extend(stream.finish());
        prop_assert_eq!(String::from_utf8(out).unwrap(), whole);
    }

    /// However a program writes the text that a secret stands in, the secret is masked and what is around it is not.
    #[test]
    fn any_secret_is_found_in_every_form(secret in "\\PC{5,30}", before in "[a-z ]{0,9}", after in "[a-z ]{0,9}") {
        prop_assume!(!secret.contains('*') && secret.trim() == secret);
        let masker = Masker::new([secret.as_str()]);
        let text = format!("{before}{secret}{after}");
        let percent = |set| percent_encode(text.as_bytes(), set).to_string();
        let json = serde_json::Value::from(text.as_str()).to_string();
        let hex: String = text.bytes().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        let forms = [
            text.clone(),
            json.clone(),
            ascii_json(&json),
            json.replace('/', "\\/"),
            percent(NON_ALPHANUMERIC),
            percent(RFC_3986),
            percent(URI_COMPONENT),
            percent(FORM).replace("%20", "+"),
            lower_case_escapes(&percent(RFC_3986)),
            hex.to_ascii_uppercase(),
            hex,
            base64::engine::general_purpose::STANDARD.encode(&text),
            base64::engine::general_purpose::URL_SAFE.encode(&text),
        ];
        for form in &forms {
            prop_assert!(masker.mask(form).contains("***"), "{form}");
            // What is shown tells no more than its neighbours' bits of it.
            let shown = masker.mask(form).replace("***", "");
            prop_assert!(shown.len() <= form.len() - secret.len() + 6, "{form}: {shown}");
        }
    }

    #[test]
    fn any_secret_is_found_in_any_text(secret in "\\PC{5,30}", before in "\\PC{0,9}", after in "\\PC{0,9}") {
        prop_assume!(!secret.contains('*'));
        let masker = Masker::new([secret.as_str()]);
        let text = format!("{before}{secret}{after}");
        prop_assert!(!masker.mask(&text).contains(&secret));
        let base64 = base64::engine::general_purpose::URL_SAFE_NO_PAD;
        let encoded = base64.encode(&text);
        prop_assert!(masker.mask(&encoded).contains("***"), "{}", encoded);
    }
}
