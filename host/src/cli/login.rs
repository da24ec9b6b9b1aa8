//! `airlock login` and `logout`.

use std::io::{BufRead, IsTerminal};

use super::{
    client::{Client, ClientArgs, env_token, keep_token},
    error::{CliError, Kind, OrFail, Result},
    output::note,
};

/// Where `login` takes the password from, before it asks.
const PASSWORD: &str = "AIRLOCK_PASSWORD";

#[derive(Debug, clap::Args)]
#[command(after_help = "The password is that of AIRLOCK_PASSWORD, or asked for, or a line of standard input.")]
pub struct LoginArgs {
    #[arg(long, default_value = "admin")]
    username: String,
}

impl LoginArgs {
    /// Takes the password of `AIRLOCK_PASSWORD`, or asks for it, and keeps the token.
    pub async fn run(self, server: &ClientArgs) -> Result<()> {
        let password = match std::env::var(PASSWORD) {
            Ok(password) if !password.is_empty() => password,
            _ => ask_password(&format!("Password of {}: ", self.username))
                .map_err(|error| error.hint(format!("type it, pipe it into standard input, or set {PASSWORD}")))?,
        };
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

/// A password, typed without echo, or a line of standard input. Not that of `AIRLOCK_PASSWORD`: it is the user's, and this one may
/// be another's, or go to another system.
pub fn ask_password(prompt: &str) -> Result<String> {
    let password = if std::io::stdin().is_terminal() {
        rpassword::prompt_password(prompt).or_fail(Kind::Usage, || "can't read a password".into())?
    } else {
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line)?;
        line.trim_end_matches(['\r', '\n']).to_owned()
    };
    if password.is_empty() {
        return Err(
            CliError::text(Kind::Usage, "the password is empty").hint("type it, or pipe it into standard input")
        );
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
