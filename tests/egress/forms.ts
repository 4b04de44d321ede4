/** Ways to write, in a URL, an address that must not be reached. `PORT` is the canary's. */

const words = (text: string): string[] => text.trim().split(/\s+/)

/** Hosts that are this machine: a client without a policy arrives at the canary by each of them. */
export const THIS_MACHINE = words(`
  127.0.0.1 127.1 127.0.1 127.0.0.2 127.255.255.254 127.1.2.3 2130706433 2130706434 0x7f000001 0x7F000001 0X7f000001
  0x7f.1 0x7f.0.1 0x7f.0.0.1 0x7f.0x0.0x0.0x1 0x7F.0X0.0X0.0X1 0x0000007f.1 0x000000007f000001 0x7f.0x1 0x7f.256
  0177.0.0.1 0177.1 0177.0.1 0177.00.00.01 0177.0x0.0.1 0177.0x1 00177.1 0000000177.0.0.1 017700000001 0017700000001
  127.000.000.001 127.0x0.0.01 127.0.0.01 127.0.0.0x1 127.0x1 127.01 127.00001 127.65536 127.16777214 127.0.65534
  127.0.0.1. 127.1. 2130706433. 0x7f.1. 0x7f000001. 017700000001. 0177.1. 127.0.0.1%2e 127.1%2E
  0 0.0.0.0 0x0 0x00000000 00000000000 0.0 0.0.0 00.00.00.00 0. 0x
  %31%32%37.0.0.1 %31%32%37%2e%30%2e%30%2e%31 127%2e0%2e0%2e1 127%2E1 1%32%37.1 %30%78%37%66.1 %32%31%33%30%37%30%36%34%33%33
  ①②⑦.0.0.1 ①②⑦.⓪.⓪.① ①②⑦。① １２７.0.0.1 １２７．０．０．１ 127。0。0。1 127．0．0．1 127｡0｡0｡1 ¹²⁷.0.0.1 ₁₂₇.0.0.1
  𝟏𝟐𝟕.0.0.1 𝟙𝟚𝟟.𝟘.𝟘.𝟙 𝟭𝟮𝟳.1 0ｘ7ｆ.1 ２１３０７０６４３３ %EF%BC%91%EF%BC%92%EF%BC%97.0.0.1
`).concat('127.0.0.1\u00AD', '127\u200B.0.0.1', '127.0\u2060.0.1', '127.0.0.\uFE0F1')

/** The same over IPv6, where the machine has it. */
export const THIS_MACHINE_V6 = words(`
  [::1] [0:0:0:0:0:0:0:1] [0000:0000:0000:0000:0000:0000:0000:0001] [::0001] [0::1] [0:0::0:1] [::0.0.0.1]
  [::ffff:127.0.0.1] [::FFFF:127.0.0.1] [::ffff:7f00:1] [::ffff:7F00:0001] [0:0:0:0:0:ffff:7f00:1] [0::ffff:127.0.0.1]
  [::ffff:127.1.2.3] [::] [0:0:0:0:0:0:0:0] [::0] [::0.0.0.0] [::ffff:0.0.0.0] [::ffff:0:0]
`)

/** Private networks, reached only by a connection that may. */
export const PRIVATE = words(`
  10.0.0.1 10.1 10.255.255.255 167772161 0xa000001 0xA.1 012.0.0.1 012.1 ⑩.0.0.1 10.0.0.1.
  172.16.0.1 172.31.255.255 172.16.1 0xac100001 0254.020.0.1 2886729729
  192.168.0.1 192.168.1 192.168.255.255 0xc0a80001 3232235521 0300.0250.0.1 ①⑨②.①⑥⑧.0.1
  100.64.0.1 100.127.255.254 1681915905 0x64400001 [fc00::1] [fd00::1] [fdff:ffff::1]
  [::ffff:a00:1] [::ffff:10.0.0.1] [::ffff:192.168.0.1] [::ffff:100.64.0.1]
`)

/** Never reached, whatever a connection may: link-local, reserved, metadata, and what carries an address inside. */
export const NEVER = words(`
  169.254.169.254 2852039166 0xa9fea9fe 0251.0376.0251.0376 169.254.43518 169.16689662 0xa9.0xfe.0xa9.0xfe 169.254.169.254.
  0xa9.254.0251.254 ①⑥⑨.②⑤④.①⑥⑨.②⑤④ 169。254。169。254 %31%36%39.254.169.254 169.254.170.2 169.254.170.23 169.254.0.1
  100.100.100.200 1684301000 168.63.129.16 2822734096 192.0.0.192 192.0.0.1 0 0.0.0.0 0x0
  0.1.2.3 0.255.255.255 198.18.0.1 198.19.255.255 192.0.2.1 198.51.100.1 203.0.113.1 192.88.99.1
  224.0.0.1 239.255.255.250 240.0.0.1 255.255.255.255 4294967295 0xffffffff 037777777777
  [::127.0.0.1] [::7f00:1] [::ffff:0:7f00:1] [::ffff:0:127.0.0.1] [::a9fe:a9fe] [::10.0.0.1] [::] [::ffff:0.0.0.0]
  [64:ff9b::7f00:1] [64:ff9b::127.0.0.1] [64:ff9b::a9fe:a9fe] [64:ff9b::a00:1] [64:ff9b:1::7f00:1] [64:ff9b:1:ffff::a9fe:a9fe]
  [2002:7f00:1::] [2002:7f00:0001:0000::1] [2002:a9fe:a9fe::] [2002:a00:1::1] [2002:c0a8:1::1]
  [2001:0:0:0:0:0:80ff:fffe] [2001::f5ff:fffe] [2001:0:7f00:1::] [2001:2::1] [2001:10::1] [2001:20::1] [2001:db8::1]
  [fe80::1] [fe80::a9fe:a9fe] [febf::1] [fec0::1] [ff01::1] [ff02::1] [ff0e::1]
  [100::1] [3fff::1] [5f00::1] [4000::1] [::2] [::ffff:169.254.169.254] [::ffff:a9fe:a9fe] [::ffff:168.63.129.16]
  [fd00:ec2::254] [fd00:ec2::23] [fd00:0ec2:0:0:0:0:0:254] [fd20:ce::254]
`)

/** Names that the test's own name server knows, with their answers. */
export const NAMES: Readonly<Record<string, readonly string[]>> = {
  localhost: ['127.0.0.1', '::1'],
  'sub.localhost': ['127.0.0.1'],
  'localhost.localdomain': ['127.0.0.1'],
  'ip6-localhost.example': ['::1'],
  'loop.example': ['127.0.0.1'],
  'loop2.example': ['127.77.77.77'],
  'zero.example': ['0.0.0.0'],
  'six.example': ['::1'],
  'zero6.example': ['::'],
  'mapped.example': ['::ffff:127.0.0.1'],
  '127.0.0.1.nip.example': ['127.0.0.1'],
  'xn--lcalhost-n4a.example': ['127.0.0.1'],
  'private.example': ['10.0.0.1'],
  'private2.example': ['192.168.1.1', '172.16.0.1'],
  'cgnat.example': ['100.64.0.1'],
  'metadata.google.internal': ['169.254.169.254'],
  'instance-data.example': ['169.254.169.254', '127.0.0.1'],
  'aws6.example': ['fd00:ec2::254'],
  'nat64.example': ['64:ff9b::7f00:1'],
  '6to4.example': ['2002:7f00:1::'],
  'linklocal.example': ['fe80::1'],
  'multicast.example': ['224.0.0.1', 'ff02::1'],
}

/** Further ways to write some of these names. */
export const NAME_FORMS = [
  ...Object.keys(NAMES),
  ...words(`
    localhost. LOCALHOST LocalHost ｌｏｃａｌｈｏｓｔ ⓛⓞⓒⓐⓛⓗⓞⓢⓣ loc%61lhost %6c%6f%63%61%6c%68%6f%73%74 𝓵𝓸𝓬𝓪𝓵𝓱𝓸𝓼𝓽 loop.example. LOOP.EXAMPLE
    loop。example ｌｏｏｐ.example l%6fop.example mapped.example. METADATA.google.internal. lócalhost.example
  `),
  'local\u00ADhost',
]

/** Whole URLs that read as something else than they are. */
export const URLS = words(`
  https://api.example.com@127.0.0.1:PORT/ https://api.example.com:443@127.0.0.1:PORT/ https://api.example.com%40127.0.0.1:PORT/
  https://127.0.0.1:PORT\\@api.example.com/ https://127.0.0.1:PORT#@api.example.com/ https://127.0.0.1:PORT?@api.example.com/
  https://user:pass@loop.example:PORT/ https://@127.0.0.1:PORT/ https://:@127.0.0.1:PORT/ https://%40@127.0.0.1:PORT/
  https:127.0.0.1:PORT/ https:/127.0.0.1:PORT/ https:///127.0.0.1:PORT/ https:////127.0.0.1:PORT/ https:\\\\127.0.0.1:PORT\\
  HTTPS://127.0.0.1:PORT/ hTTpS://127.0.0.1:PORT/ https://127.0.0.1:PORT/../../x https://127.0.0.1:0PORT/
  https://[::1%25lo]:PORT/ https://[::1%lo]:PORT/ https://[fe80::1%25eth0]:PORT/ https://[127.0.0.1]:PORT/ https://[::ffff:0x7f.1]:PORT/
  https://127.0.0.1%00.example.com:PORT/ https://127.0.0.1%0d%0a:PORT/ https://127.0.0.1%20:PORT/ https://127.0.0.1,api.example.com:PORT/
  https://256.256.256.256:PORT/ https://127.0.0.0x100:PORT/ https://127.0.0.1.1:PORT/ https://0x7f.0.0.0.1:PORT/ https://127..1:PORT/
  http://127.0.0.1:PORT/ http://localhost:PORT/ http://[::1]:PORT/ http://2130706433:PORT/ ftp://127.0.0.1:PORT/ ws://127.0.0.1:PORT/
  wss://127.0.0.1:PORT/ file:///etc/passwd file://127.0.0.1/etc/passwd gopher://127.0.0.1:PORT/_GET dict://127.0.0.1:PORT/info
  ldap://127.0.0.1:PORT/ jar:https://127.0.0.1:PORT/ data:text/plain,x javascript:0 blob:https://127.0.0.1:PORT/x unix:/run/docker.sock
  //127.0.0.1:PORT/ 127.0.0.1:PORT /relative https:// http://[::1
`).concat(
  ' https://127.0.0.1:PORT/ ',
  '\u0000https://127.0.0.1:PORT/',
  'ht\ntps://127.0.0.1:PORT/',
  'https://127.\t0.0.1:PORT/',
  'https://127.0.0.1\n:PORT/',
  'https://127.0.0.1:PORT /',
  '',
)
