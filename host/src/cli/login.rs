//! `airlock login` and `logout`.

use std::io::{BufRead, IsTerminal};

use super::{
    client::{Client, ClientArgs, env_token, keep_token},
    error::{CliError, Kind, OrFail, Result},
    output::note,
};

#[derive(Debug, clap::Args)]
pub struct LoginArgs {
    #[arg(long, default_value = "admin")]
    username: String,
}

impl LoginArgs {
    /// Asks for the password (or reads a line of standard input, or `AIRLOCK_PASSWORD`) and keeps the token.
    pub async fn run(self, server: &ClientArgs) -> Result<()> {
        let password = ask_password(&format!("Password of {}: ", self.username))?;
        let token = Client::anonymous(server)?.sign_in(&self.username, &password).await?;
        let path = keep_token(server, Some(token))?;
        note(&format!("signed in as {}; the token is in {}", self.username, path.display()));
        if env_token().is_some() {
            note(
                "warning: AIRLOCK_TOKEN is set and stands before this token: commands use that one until you unset it",
            );
        }
        Ok(())
    }
}

/// A password: `AIRLOCK_PASSWORD`, or typed without echo, or a line of standard input.
pub fn ask_password(prompt: &str) -> Result<String> {
    if let Ok(password) = std::env::var("AIRLOCK_PASSWORD") {
        return Ok(password);
    }
    let password = if std::io::stdin().is_terminal() {
        rpassword::prompt_password(prompt).or_fail(Kind::Usage, || "can't read a password".into())?
    } else {
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line)?;
        line.trim_end_matches(['\r', '\n']).to_owned()
    };
    if password.is_empty() {
        return Err(CliError::text(Kind::Usage, "the password is empty")
            .hint("type it, pipe it into standard input, or set AIRLOCK_PASSWORD"));
    }
    Ok(password)
}

/// Forgets the token that is kept for `server`.
pub fn logout(server: &ClientArgs) -> Result<()> {
    let path = keep_token(server, None)?;
    note(&format!("the token is no longer in {}", path.display()));
    if env_token().is_some() {
        note("warning: AIRLOCK_TOKEN is set: commands are still signed in by that token until you unset it");
    }
    Ok(())
}
