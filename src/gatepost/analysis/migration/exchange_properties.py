"""The properties of Exchange's objects: read, irrelevant for mail, or lost, with the reason.

Tables for `analysis.migration.exchange` and `analysis.migration.exchange_rules`; names are in lower case, as PowerShell
takes them in any. What stands in none of them is reported as unknown.
"""

from __future__ import annotations


def _names(text: str) -> frozenset[str]:
    return frozenset(text.lower().split())


# What identifies, dates or labels an object and says nothing about mail.
METADATA = _names(
    """
    AdminDisplayName ConnectorSource DistinguishedName ExchangeObjectId ExchangeVersion Guid Id Identity IsValid
    IsValidated LastValidationTimestamp LinkForModifiedConnector Name ObjectCategory ObjectClass ObjectState
    OrganizationId OrganizationalUnitRoot OriginatingServer PSComputerName PSShowComputerName PSTypeName RunspaceId
    ValidationRecipients WhenChanged WhenChangedUTC WhenCreated WhenCreatedUTC
    """
)
INBOUND = _names(
    """
    AssociatedAcceptedDomains CloudServicesMailEnabled Comment ConnectorType EFSkipIPs EFSkipLastIP Enabled RequireTls
    RestrictDomainsToCertificate RestrictDomainsToIPAddresses SenderDomains SenderIPAddresses
    TlsSenderCertificateName TreatMessagesAsInternal
    """
)
OUTBOUND = _names(
    """
    AllAcceptedDomains Comment ConnectorType Enabled IsTransportRuleScoped MtaStsMode RecipientDomains
    RouteAllMessagesViaOnPremises SmartHosts SmtpDaneMode TestMode TlsDomain TlsSettings UseMXRecord
    CloudServicesMailEnabled SenderRewritingEnabled
    """
)
# Of Exchange Server: those that are read, and those that say how its own servers work, not what is demanded of others.
SEND = _names(
    """
    AddressSpaces AuthenticationCredential CloudServicesMailEnabled Comment DNSRoutingEnabled DomainSecureEnabled
    Enabled ErrorPolicies Fqdn
    IgnoreSTARTTLS IsScopedConnector Port RequireTLS SmartHostAuthMechanism SmartHosts SmartHostsString
    SourceIPAddress TlsAuthLevel TlsCertificateName TlsDomain UseExternalDNSServersEnabled

    ConnectedDomains ConnectionInactivityTimeOut ForceHELO FrontendProxyEnabled HomeMTA HomeMtaServerId IsSmtpConnector
    LinkedReceiveConnector MaxMessageSize MinAdminVersion ProtocolLoggingLevel RequireOorg
    SmtpMaxMessagesPerConnection SourceRoutingGroup SourceTransportServerVsis SourceTransportServers
    """
)
RECEIVE = _names(
    """
    AuthMechanism Comment Enabled PermissionGroups RemoteIPRanges RequireTLS TlsDomainCapabilities

    AdvertiseClientSettings AuthTarpitInterval Banner BareLinefeedRejectionEnabled BinaryMimeEnabled Bindings
    ChunkingEnabled ConnectionInactivityTimeout ConnectionTimeout DefaultDomain DeliveryStatusNotificationEnabled
    EightBitMimeEnabled EnableAuthGSSAPI EnhancedStatusCodesEnabled ExtendedProtectionPolicy Fqdn HasNoSspi
    LiveCredentialEnabled LongAddressesEnabled MaxAcknowledgementDelay MaxHeaderSize MaxHopCount MaxInboundConnection
    MaxInboundConnectionPercentagePerSource MaxInboundConnectionPerSource MaxLocalHopCount MaxLogonFailures
    MaxMessageSize MaxProtocolErrors MaxRecipientsPerMessage MessageRateLimit MessageRateSource OrarEnabled
    PipeliningEnabled ProtocolLoggingLevel ProxyEnabled RejectReservedSecondLevelRecipientDomains
    RejectReservedTopLevelRecipientDomains RejectSingleLabelRecipientDomains RequireEHLODomain Server
    ServiceDiscoveryFqdn SizeEnabled SmtpUtf8Enabled SuppressXAnonymousTls TarpitInterval TlsCertificateName
    TransportRole VirtualDirectoryIdentity
    """
)
# With an accepted domain's properties of sign-in, branding and federation, which are not about mail between servers.
DOMAIN = _names(
    """
    AddressBookEnabled AuthenticationType CanHaveCloudCache Default DomainName DomainType DualProvisioningEnabled
    EmailOnly EnableNego2Authentication ExternallyManaged FederatedOrganizationLink InitialDomain
    IsCoexistenceDomain IsDefaultFederatedDomain LiveIdInstanceType MailFlowPartner MatchSubDomains
    PendingCompletion PendingFederatedAccountNamespace PendingFederatedDomain PerimeterDuplicateDetected
    RawAuthenticationType RawLiveIdInstanceType
    """
)
# Of a transport rule: those that are read, and those that only describe it or repeat the others (Conditions, Actions).
RULE = _names(
    """
    Actions Comments Conditions CreatedBy Description DlpPolicy DlpPolicyId ExceptIfFrom ExceptIfRecipientDomainIs
    ExceptIfFromScope ExceptIfSenderDomainIs ExceptIfSentTo ExceptIfSentToScope Exceptions From FromScope
    HeaderContainsMessageHeader HeaderContainsWords
    ImmutableId IsRuleConfigurationSupported LastModifiedBy ManuallyModified Mode Priority RecipientAddressType
    RecipientDomainIs
    RouteMessageOutboundConnector RouteMessageOutboundRequireTls RuleConfigurationUnsupportedReason RuleErrorAction
    RuleSubType RuleVersion SenderAddressLocation SenderDomainIs SentTo SentToScope SetAuditSeverity Size State
    StopRuleProcessing SubjectContainsWords UseLegacyRegex Xml
    """
)
ORGANIZATION = _names("RejectDirectSend DisplayName")
TRANSPORT = _names("JournalingReportNdrTo MessageExpiration")
JOURNAL = _names("Enabled ExpiryDate JournalEmailAddress LawfulInterception Recipient RuleType Scope")

# Why a property is not carried over, and what to do instead.
LOST = {
    "trustedorganizations": "trust between tenants is the service's own; let the other organization's servers in by "
    "their certificate, with an on-premises connector of theirs",
    "efusers": "enhanced filtering holds for all recipients here; limit the connector with associated_accepted_domains",
    "efskipmailgateway": "reserved for Microsoft; nothing to do",
    "eftestmode": "reserved for Microsoft; nothing to do",
    "scananddroprecipients": "reserved for Microsoft; mail to these recipients is taken and delivered like any other",
    "clienthostnames": "undocumented; know the servers by certificate (tls_sender_certificate_name) or by address",
    "catchallrecipientid": "there is no catch-all mailbox here; make the domain internal-relay and route it to a "
    "server that has one",
    "outboundonly": "the domain is taken in here in both directions; leave it out if mail for it must not come here",
    "sendingfromdomaindisabled": "senders are not held back here; let the organization's own server do it",
    "sendingtodomaindisabled": "mail to it is not held back here; leave the domain out instead",
    "pendingremoval": "it is being removed in Exchange; leave the domain out if that is still meant",
    "tlssenddomainsecurelist": "domain security; write an outbound connector with tls_settings = "
    '"domain-validation" for each of these domains',
    "tlsreceivedomainsecurelist": "domain security; write a partner connector with restrict_domains_to_certificate for "
    "each of these domains",
    "domainsecureenabled": "domain security; write a partner connector with restrict_domains_to_certificate for each "
    "domain of TLSReceiveDomainSecureList",
    "allowlegacytlsclients": "this is about submission by clients; old TLS versions need a listener of their own",
}
UNKNOWN = "is not known to this import; look up what it does, and whether it is still needed"
