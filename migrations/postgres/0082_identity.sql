-- Whom a provider of OpenID Connect vouches for, by the name of the provider. NULL: the user signs in by a password, or not at all.
ALTER TABLE airlock_user ADD COLUMN issuer TEXT;
-- Who that is there. It never changes, and is never given to somebody else.
ALTER TABLE airlock_user ADD COLUMN subject TEXT CHECK ((subject IS NULL) = (issuer IS NULL));
CREATE UNIQUE INDEX airlock_user_identity ON airlock_user (issuer, subject) WHERE subject IS NOT NULL;
