/* types.h - RR types and RCODEs: number, mnemonic and layout of the RDATA, each once.
 *
 * Rules: the registries of IANA, "Domain Name System (DNS) Parameters"; RFC 1035 section 3.3 and RFC 3597 section 4 (which
 *        types may hold names, and which of these may be compressed).
 */
#ifndef NODEDOT_DNS_TYPES_H
#define NODEDOT_DNS_TYPES_H

/* T(mnemonic, number, octets before the names, names, octets behind them, does more of any length follow?). All zeros: the
 * RDATA is opaque. */
#define DNS_TYPES(T)                  \
    T(A, 1, 4, 0, 0, false)           \
    T(NS, 2, 0, 1, 0, false)          \
    T(MD, 3, 0, 1, 0, false)          \
    T(MF, 4, 0, 1, 0, false)          \
    T(CNAME, 5, 0, 1, 0, false)       \
    T(SOA, 6, 0, 2, 20, false)        \
    T(MB, 7, 0, 1, 0, false)          \
    T(MG, 8, 0, 1, 0, false)          \
    T(MR, 9, 0, 1, 0, false)          \
    T(PTR, 12, 0, 1, 0, false)        \
    T(HINFO, 13, 0, 0, 0, false)      \
    T(MINFO, 14, 0, 2, 0, false)      \
    T(MX, 15, 2, 1, 0, false)         \
    T(TXT, 16, 0, 0, 0, false)        \
    T(RP, 17, 0, 2, 0, false)         \
    T(AFSDB, 18, 2, 1, 0, false)      \
    T(RT, 21, 2, 1, 0, false)         \
    T(SIG, 24, 18, 1, 0, true)        \
    T(KEY, 25, 0, 0, 0, false)        \
    T(PX, 26, 2, 2, 0, false)         \
    T(AAAA, 28, 16, 0, 0, false)      \
    T(LOC, 29, 0, 0, 0, false)        \
    T(NXT, 30, 0, 1, 0, true)         \
    T(SRV, 33, 6, 1, 0, false)        \
    T(NAPTR, 35, 0, 0, 0, false)      \
    T(KX, 36, 2, 1, 0, false)         \
    T(CERT, 37, 0, 0, 0, false)       \
    T(DNAME, 39, 0, 1, 0, false)      \
    T(OPT, 41, 0, 0, 0, false)        \
    T(APL, 42, 0, 0, 0, false)        \
    T(DS, 43, 0, 0, 0, false)         \
    T(SSHFP, 44, 0, 0, 0, false)      \
    T(RRSIG, 46, 18, 1, 0, true)      \
    T(NSEC, 47, 0, 1, 0, true)        \
    T(DNSKEY, 48, 0, 0, 0, false)     \
    T(NSEC3, 50, 0, 0, 0, false)      \
    T(NSEC3PARAM, 51, 0, 0, 0, false) \
    T(TLSA, 52, 0, 0, 0, false)       \
    T(SMIMEA, 53, 0, 0, 0, false)     \
    T(HIP, 55, 0, 0, 0, false)        \
    T(CDS, 59, 0, 0, 0, false)        \
    T(CDNSKEY, 60, 0, 0, 0, false)    \
    T(OPENPGPKEY, 61, 0, 0, 0, false) \
    T(CSYNC, 62, 0, 0, 0, false)      \
    T(ZONEMD, 63, 0, 0, 0, false)     \
    T(SVCB, 64, 0, 0, 0, false)       \
    T(HTTPS, 65, 0, 0, 0, false)      \
    T(SPF, 99, 0, 0, 0, false)        \
    T(EUI48, 108, 0, 0, 0, false)     \
    T(EUI64, 109, 0, 0, 0, false)     \
    T(TKEY, 249, 0, 0, 0, false)      \
    T(TSIG, 250, 0, 0, 0, false)      \
    T(IXFR, 251, 0, 0, 0, false)      \
    T(AXFR, 252, 0, 0, 0, false)      \
    T(MAILB, 253, 0, 0, 0, false)     \
    T(MAILA, 254, 0, 0, 0, false)     \
    T(ANY, 255, 0, 0, 0, false)       \
    T(URI, 256, 0, 0, 0, false)       \
    T(CAA, 257, 0, 0, 0, false)

/* R(mnemonic, number). */
#define DNS_RCODES(R) \
    R(NOERROR, 0)     \
    R(FORMERR, 1)     \
    R(SERVFAIL, 2)    \
    R(NXDOMAIN, 3)    \
    R(NOTIMP, 4)      \
    R(REFUSED, 5)     \
    R(YXDOMAIN, 6)    \
    R(YXRRSET, 7)     \
    R(NXRRSET, 8)     \
    R(NOTAUTH, 9)     \
    R(NOTZONE, 10)    \
    R(BADVERS, 16)    \
    R(BADCOOKIE, 23)

#define DNS_TYPE_NUMBER(name, number, before, names, after, open) TYPE_##name = (number),
enum rrtype { DNS_TYPES(DNS_TYPE_NUMBER) };

#define DNS_RCODE_NUMBER(name, number) RCODE_##name = (number),
enum rcode { DNS_RCODES(DNS_RCODE_NUMBER) };

#endif
