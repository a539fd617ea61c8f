"""Files of Export-Clixml, as Windows PowerShell 5 writes them in the Exchange Management Shell."""

from __future__ import annotations

import pytest

from gatepost.analysis.migration.exchange import convert
from gatepost.analysis.migration.exchange_clixml import clixml_objects
from gatepost.analysis.migration.exchange_json import read_objects
from gatepost.analysis.migration.report import ImportRefused

FILE = """<Objs Version="1.1.0.1" xmlns="http://schemas.microsoft.com/powershell/2004/04">
  <Obj RefId="0">
    <TN RefId="0">
      <T>Deserialized.Microsoft.Exchange.Data.Directory.SystemConfiguration.AcceptedDomain</T>
      <T>Deserialized.System.Object</T>
    </TN>
    <ToString>contoso.example</ToString>
    <Props>
      <S N="DomainName">contoso.example</S>
      <Obj N="DomainType" RefId="1">
        <TN RefId="1"><T>Microsoft.Exchange.Data.AcceptedDomainType</T><T>System.Enum</T></TN>
        <ToString>InternalRelay</ToString>
        <I32>2</I32>
      </Obj>
      <B N="MatchSubDomains">false</B>
      <S N="Name">Geprüft_x000A_von Müller</S>
    </Props>
    <MS><S N="PSComputerName">ex1.contoso.example</S></MS>
  </Obj>
  <Obj RefId="2">
    <TN RefId="2"><T>Deserialized.Microsoft.Exchange.Data.Directory.SystemConfiguration.SmtpSendConnectorConfig</T></TN>
    <ToString>Bank</ToString>
    <Props>
      <Obj N="AddressSpaces" RefId="3">
        <TN RefId="3"><T>Deserialized.Microsoft.Exchange.Data.MultiValuedProperty`1[[AddressSpace]]</T></TN>
        <LST>
          <Obj RefId="4"><ToString>SMTP:bank.example;1</ToString><Props><I32 N="Cost">1</I32></Props></Obj>
          <S>SMTP:*.bank.example;1</S>
        </LST>
      </Obj>
      <Obj N="SmartHosts" RefId="5">
        <TNRef RefId="3" /><LST><Obj RefId="6"><ToString>mx.bank.example</ToString></Obj></LST>
      </Obj>
      <Ref N="Hosts" RefId="5" />
      <I32 N="Port">25</I32>
      <B N="DNSRoutingEnabled">false</B>
      <B N="RequireTLS">true</B>
      <Obj N="TlsAuthLevel" RefId="7"><ToString>CertificateValidation</ToString><I32>2</I32></Obj>
      <Nil N="TlsDomain" />
      <S N="Name">Bank</S>
    </Props>
  </Obj>
</Objs>
"""


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("declared", ["", '<?xml version="1.0" encoding="utf-16"?>\n'])
def test_a_file_is_read_as_that_of_json_is(encoding, declared):
    found = read_objects((declared + FILE).encode(encoding), "exchange.xml")
    assert [item.kind for item in found] == ["domain", "send"]
    assert found[0].text("Name") == "Geprüft\nvon Müller"
    assert found[1].texts("Hosts") == ["mx.bank.example"]
    tables = convert(found).document["organization"]["contoso"]
    assert [domain["type"] for domain in tables["accepted_domain"]] == ["internal-relay"]
    (connector,) = tables["outbound_connector"]
    assert (connector["recipient_domains"], connector["smart_hosts"], connector["tls_settings"]) == (
        ["bank.example", "*.bank.example"], ["mx.bank.example"], "certificate-validation",
    )  # fmt: skip


def test_a_list_at_the_top_is_its_objects():
    inner = FILE.partition(">\n")[2].rpartition("</Objs>")[0]
    text = FILE.partition("\n")[0] + f"<Obj RefId='9'><LST>{inner}</LST></Obj></Objs>"
    assert [item.kind for item in read_objects(text.encode(), "x")] == ["domain", "send"]


def objects(inner):
    return FILE.partition("\n")[0] + inner + "</Objs>"


def test_an_object_has_the_type_of_the_one_to_which_it_refers():
    """PowerShell writes a type once; these two have no property that tells what they are."""
    first = "<Obj><TN RefId='5'><T>Deserialized.X.InboundConnector</T></TN><Props><S N='Name'>a</S></Props></Obj>"
    second = "<Obj><TNRef RefId='{}'/><Props><S N='Name'>b</S></Props></Obj>"
    text = objects(first + second.format(5) + second.format(6))
    assert [(item.kind, item.name) for item in read_objects(text.encode(), "x")] == [
        ("inbound", "a"), ("inbound", "b"), ("", "b"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("element", "value"),
    [
        ("<S>Bank</S>", "Bank"),
        ("<I32>-5</I32>", -5),
        ("<I32>five</I32>", "five"),
        ("<B>TRUE</B>", True),
        ("<Nil/>", None),
        ("<Obj RefId='0'><ToString>Bank</ToString></Obj>", "Bank"),
    ],
)
def test_what_has_no_properties_is_its_value(element, value):
    assert clixml_objects(objects(element), "x") == [value]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (FILE[:400], "line 11: not XML"),
        ("<html></html>", "not what Export-Clixml wrote"),
        ('<!DOCTYPE x [<!ENTITY a "b">]><Objs>&a;</Objs>', "document type"),
        ('"Name","SenderDomains"\n"Bank","System.Object[]"\n', "ConvertTo-Json -Depth 5"),
        ("#TYPE Microsoft.Exchange\nName,Enabled\n", "ConvertTo-Json -Depth 5"),
        ("Name;Enabled\nBank;WAHR\n", "Export-Clixml"),
        ("\nName            : Bank\nEnabled         : True\n", "Export-Clixml"),
        ("Name Enabled\n---- -------\nBank True\n", "Export-Clixml"),
    ],
)
def test_what_is_no_such_file_is_refused_with_what_to_do(text, why):
    with pytest.raises(ImportRefused, match=why):
        read_objects(text.encode(), "exchange.xml")
