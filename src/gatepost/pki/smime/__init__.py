"""S/MIME (RFC 8551): identities, signing, encryption, decryption, CMS."""
