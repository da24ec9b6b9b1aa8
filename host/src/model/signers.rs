//! Whose components are accepted: detached signatures of minisign (Ed25519 over BLAKE2b), checked against configured keys.

use std::{fmt, str::FromStr};

use minisign_verify::{PublicKey, Signature};

/// A signature of minisign is four short lines; anything longer is none.
pub const MAX_SIGNATURE_BYTES: usize = 4 << 10;

/// The keys that count, each with the name of whoever has its other half. As text `ann=RWQ...,build=RWR...`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Signers(Vec<(String, PublicKey)>);

/// A text that names no signers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a name, `=` and a public key of minisign (its second line, as `RWQ...`)")]
pub struct SignersError(String);

/// Why an upload is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    #[error(
        "it is not signed, and this server takes only what is; sign it with `minisign -Sm FILE`, and upload it with \
         `airlock deploy --signature FILE.minisig FILE`"
    )]
    Missing,
    #[error("its signature can't be read; it must be what `minisign -Sm FILE` writes to `FILE.minisig`")]
    Unreadable,
    #[error("its signature is of none of {signers}, or of other bytes")]
    Wrong { signers: String },
}

impl FromStr for Signers {
    type Err = SignersError;

    fn from_str(text: &str) -> Result<Self, SignersError> {
        let signer = |part: &str| {
            let wrong = || SignersError(part.chars().take(80).collect());
            let (name, key) = part.split_once('=').ok_or_else(wrong)?;
            let name = name.trim();
            let is_plain = name.chars().all(|c| c.is_ascii_alphanumeric() || "_-.@".contains(c));
            if name.is_empty() || name.len() > 100 || !is_plain {
                return Err(wrong());
            }
            let key = PublicKey::from_base64(key.trim()).map_err(|_| wrong())?;
            Ok((name.to_owned(), key))
        };
        text.split(',').filter(|part| !part.trim().is_empty()).map(signer).collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Debug for Signers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

impl Signers {
    /// Whether whatever is uploaded has to be signed.
    pub fn ask(&self) -> bool {
        !self.0.is_empty()
    }

    /// Who signed `bytes`. None: nobody has to, and nobody whose key is known did.
    ///
    /// # Errors
    /// If somebody has to have, and nobody did.
    pub fn check(&self, bytes: &[u8], signature: Option<&str>) -> Result<Option<String>, SignatureError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let text = signature.ok_or(SignatureError::Missing)?;
        if text.len() > MAX_SIGNATURE_BYTES {
            return Err(SignatureError::Unreadable);
        }
        let signature = Signature::decode(text).map_err(|_| SignatureError::Unreadable)?;
        // The old form signs the bytes themselves; minisign has not made it for years.
        let signer = self.0.iter().find(|(_, key)| key.verify(bytes, &signature, false).is_ok());
        signer.map(|(name, _)| Some(name.clone())).ok_or_else(|| {
            let names: Vec<_> = self.0.iter().map(|(name, _)| format!("`{name}`")).collect();
            SignatureError::Wrong { signers: names.join(", ") }
        })
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Made once by minisign; their other halves are gone.
    pub const ANN: &str = "RWR6IsuozFiotId3dsi7QjWclpeiKHTo5+A9DXCreJS93g13uVrRyIW5";
    const EVE: &str = "RWSsWm/KoNcS1Ck4kV3Fn3Se9Tr7Ij7qZ7FOTagpDe9dB+hcm5GLp0AN";
    /// Of `hello`.
    const BY_ANN: &str = "untrusted comment: signed\n\
        RUR6IsuozFiotGg/sCcHLLukx/q85Wd7Y60BmZFtiuA+UEGQxOvUpUKuZVpF00JzW5eMbyJBOTWqcDgMkzabwrH+v5acV0LrnAg=\n\
        trusted comment: timestamp:1\n\
        ZuDkwSK1yJLX6CZDi83l/XqGBOco9Pmrbs/AAq6I2IpxP71QgxiMqZnWitXyYm/ngvB/expl5j3g/nVvTQrQAA==\n";
    const BY_EVE: &str = "untrusted comment: signed\n\
        RUSsWm/KoNcS1G2BVO3omn7PC00K2ClGSdQSP3X1IzHKr8pJt5cgwuQr2oFB04nCzv9uQ/zOw4pPuRPlmYi4Jq0bePaU0fvvHw8=\n\
        trusted comment: timestamp:1\n\
        GJ+304LFqNA+XNEozYLWCwv2ZrzDfhPkOZW/Sx8FOnUQkPbEHIn+VaAC4Xm4+Yn0+Ls2XaNqOsAg62SHRFr8Bw==\n";
    /// A dag in YAML, and its signature.
    pub const DAG: &str = "dag_id: signed\ntasks: {a: {uses: lib/work}}\n";
    pub const DAG_BY_ANN: &str = "untrusted comment: signed\n\
        RUR6IsuozFiotJBN0RGsFz3opcgcvNa72MWQHr2rUnaXXkPnvVj9DYRtDD/Ne1tLiDu20ehuS5nYp8Ti4zPLS+ndsJwpCYB7vgI=\n\
        trusted comment: timestamp:1\n\
        qAIDquf3QCulWUBm+xEkaDN+6CVUGUdvAt3mKlLYUBJaDkvahWplJQUxLx/K17AO+XpX3Brobutu+kikkvPZCg==\n";

    #[test]
    fn who_signed_is_known_and_nobody_else_is_accepted() {
        let signers: Signers = format!(" ann={ANN}, ci.build={EVE}").parse().unwrap();
        assert_eq!(signers.check(b"hello", Some(BY_ANN)), Ok(Some("ann".into())));
        assert_eq!(signers.check(b"hello", Some(BY_EVE)), Ok(Some("ci.build".into())));
        assert_eq!(signers.check(b"hello", None), Err(SignatureError::Missing));
        let wrong = SignatureError::Wrong { signers: "`ann`, `ci.build`".into() };
        assert_eq!(signers.check(b"hello!", Some(BY_ANN)), Err(wrong.clone()));
        // Another comment, which the signature covers too.
        assert_eq!(signers.check(b"hello", Some(&BY_ANN.replace("timestamp:1", "timestamp:2"))), Err(wrong));
        let only_ann: Signers = format!("ann={ANN}").parse().unwrap();
        assert!(matches!(only_ann.check(b"hello", Some(BY_EVE)), Err(SignatureError::Wrong { .. })));
        let long = "x".repeat(MAX_SIGNATURE_BYTES + 1);
        for text in ["", "nonsense", "a\nb\nc\nd", &long, &BY_ANN[..80], "\u{feff}a\n\u{0}\n\n\n"] {
            assert_eq!(only_ann.check(b"hello", Some(text)), Err(SignatureError::Unreadable), "{text}");
        }
        // Where nobody has to sign, nobody is known.
        assert_eq!(Signers::default().check(b"hello", Some(BY_ANN)), Ok(None));
    }

    #[test]
    fn keys_that_can_not_be_are_refused() {
        for wrong in [ANN.to_owned(), "ann=x".into(), format!("={ANN}"), format!("a b={ANN}"), format!("ann={ANN}x")] {
            let error = wrong.parse::<Signers>().unwrap_err().to_string();
            assert!(error.contains("public key of minisign"), "{error}");
        }
        assert_eq!("".parse::<Signers>().unwrap(), Signers::default());
    }
}
