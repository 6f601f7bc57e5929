"""Tax places: countries, and the parts of them that another tax law holds for.

Owns: ISO 3166 codes, who is in the European Union, which regions lie outside its VAT area.
Does not own: rates and rules (tax).
Sources: ISO 3166-1 as tzdata has it; Council Directive 2006/112/EC, articles 5 to 7; Windsor
Framework, article 8 (goods in Northern Ireland).
"""

from collections.abc import Mapping

_ISO = (
    "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR"
    " BS BT BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ"
    " EC EE EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW"
    " GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY"
    " KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV"
    " MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY"
    " QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG"
    " TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM"
    " ZW"
)
COUNTRIES = frozenset(_ISO.split())
MISTAKEN: Mapping[str, str] = {"EL": "GR", "UK": "GB", "XI": "GB"}
"""What people write for a country, and a code that is one."""

_UNION = "AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK"
EU = frozenset(_UNION.split())
OUTSIDE = "outside"
"""A place that is in no VAT area the rules know: neither its country's nor another."""

REGIONS: Mapping[str, Mapping[str, str]] = {
    "GB": {"northern_ireland": "GB"},
    "DE": {"busingen": "CH", "heligoland": OUTSIDE},
    "ES": {"canary_islands": OUTSIDE, "ceuta": OUTSIDE, "melilla": OUTSIDE},
    "FI": {"aland": OUTSIDE},
    "GR": {"mount_athos": OUTSIDE},
    "IT": {"livigno": OUTSIDE, "campione": OUTSIDE},
}
"""By country: its regions with a law of their own, and whose VAT holds there."""

TREATED_AS: Mapping[str, str] = {"MC": "FR", "IM": "GB", "LI": "CH"}
"""Countries in the VAT area of another."""


def vat_area(country: str, region: str | None) -> str:
    """Return the country whose VAT holds at a place, or OUTSIDE of any."""
    if region is not None:
        return REGIONS[country][region]
    return TREATED_AS.get(country, country)
