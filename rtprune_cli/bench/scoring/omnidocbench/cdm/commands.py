"""Owns which commands the tokeniser knows: KaTeX 0.6's, and those that im2markup added to its tables.

Facts read off those tables (KaTeX is MIT licensed). A command that is in none of them is a letter to the tokeniser:
in an upright font it is printed character by character, where a symbol is printed whole. Nothing else depends on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ReadingMode = Literal["math", "text", "size", "color"]


@dataclass(frozen=True)
class KnownCommand:
    """How a command is read. ``kind`` is that of its node, ``optional`` of its arguments stand in brackets, first.

    ``modes``: how each argument is read, where it is not as what stands around it. As an argument without braces it is
    taken only by commands of less ``greed``.
    """

    kind: str
    arguments: int = 0
    optional: int = 0
    modes: tuple[ReadingMode | None, ...] = ()
    greed: int = 1


def named(names: str) -> list[str]:
    """The commands of these names, which stand between blanks."""
    return [f"\\{name}" for name in names.split()]


def _all(names: str, command: KnownCommand) -> dict[str, KnownCommand]:
    return dict.fromkeys(named(names), command)


SIZES = frozenset(
    named(
        "tiny scriptsize footnotesize small normalsize large Large LARGE huge Huge textrm rm cal bf siptstyle boldmath "
        "it"
    )
)
STYLES = frozenset(named("displaystyle textstyle scriptstyle scriptscriptstyle"))
FONT_ALIASES = {"\\Bbb": "\\mathbb", "\\bold": "\\mathbf", "\\frak": "\\mathfrak"}
INFIX = {"\\over": "\\frac", "\\choose": "\\binom"}

COMMANDS: dict[str, KnownCommand] = {
    **dict.fromkeys(SIZES, KnownCommand("size")),
    **dict.fromkeys(STYLES, KnownCommand("style")),
    **dict.fromkeys(INFIX, KnownCommand("infix")),
    **_all("sqrt", KnownCommand("root", 1, optional=1)),
    **_all("text mbox hbox vbox", KnownCommand("text", 1, modes=("text",), greed=2)),
    **_all("color", KnownCommand("unprintable", 2, modes=("color", None), greed=3)),
    **_all("KaTeX", KnownCommand("unprintable")),
    **_all("overline underline", KnownCommand("line", 1)),
    **_all("rule", KnownCommand("rule", 2, optional=1, modes=("size", "size", "size"))),
    **_all("phantom", KnownCommand("phantom", 1)),
    **_all("left right", KnownCommand("side", 1)),
    **_all(
        "big Big bigg Bigg bigl Bigl biggl Biggl bigm Bigm biggm Biggm bigr Bigr biggr Biggr",
        KnownCommand("delimiter", 1),
    ),
    **_all("acute bar breve check ddot dot grave hat tilde vec", KnownCommand("accent", 1)),
    **_all("llap rlap", KnownCommand("lap", 1)),
    **_all("frac dfrac tfrac binom dbinom tbinom", KnownCommand("fraction", 2, greed=2)),
    **_all(
        "arccos arcsin arctan arg cos cosh cot coth csc deg dim exp hom ker lg ln log sec sin sinh tan tanh",
        KnownCommand("operator"),
    ),
    **_all("det gcd inf lim liminf limsup max min Pr sup", KnownCommand("operator with limits")),
    **_all(
        "int iint iiint oint coprod bigvee bigwedge biguplus bigcap bigcup intop prod sum bigotimes bigoplus bigodot "
        "bigsqcup smallint",
        KnownCommand("big symbol"),
    ),
    **_all(
        "mathrm mathit mathbf mathop stackrel mathbb mathcal mathfrak mathscr mathsf mathtt label comment hspace "
        "vspace atop fbox tag makebox raisebox framebox circle line put vphantom textup noalign Bbb bold frak",
        KnownCommand("font", 1, greed=2),
    ),
    **_all(
        "blue orange pink red green gray purple blueA blueB blueC blueD blueE tealA tealB tealC tealD tealE greenA "
        "greenB greenC greenD greenE goldA goldB goldC goldD goldE redA redB redC redD redE maroonA maroonB maroonC "
        "maroonD maroonE purpleA purpleB purpleC purpleD purpleE mintA mintB mintC grayA grayB grayC grayD grayE grayF "
        "grayG grayH grayI kaBlue kaGreen",
        KnownCommand("unprintable", 1, greed=3),
    ),
    **_all("\\ cr", KnownCommand("break", optional=1, modes=("size",))),
    **_all("begin end", KnownCommand("environment", 1, modes=("text",))),
}  # fmt: skip

FENCES = {"pmatrix": ("(", ")"), "bmatrix": ("[", "]"), "Bmatrix": (r"\{", r"\}"), "vmatrix": ("|", "|"),
          "Vmatrix": (r"\Vert", r"\Vert"), "cases": (r"\{", "."), "picture": (r"\{", ".")}  # fmt: skip
ENVIRONMENTS = FENCES.keys() | {"array", "tabular", "matrix", "aligned"}
DELIMITERS = frozenset((
    *"()[]<>/|.",
    *named(
        "{ } | lbrack rbrack lbrace rbrace lfloor rfloor lceil rceil langle rangle lt gt lvert rvert lVert rVert "
        "lgroup rgroup lmoustache rmoustache backslash vert Vert uparrow Uparrow downarrow Downarrow updownarrow "
        "Updownarrow"
    ),
))  # fmt: skip

SPACES = {
    "math": frozenset((r"\!", r"\ ", "~", r"\,", r"\:", r"\;", r"\enspace", r"\quad", r"\qquad", r"\space")),
    "text": frozenset((r"\ ", " ", "~")),
}
_SYMBOL_NAMES = """
    aleph amalg angle approx approxeq arowtor5linv ast asymp backepsilon backprime backsim backsimeq backslash
    barwedge Bbbk because beth between bigcirc bigstar bigtriangledown bigtriangleup blacklozenge blacksquare
    blacktriangle blacktriangledown blacktriangleleft blacktriangleright boldmathr bot bowtie Box boxdot boxminus
    boxplus boxtimes bullet Bumpeq bumpeq Cap cap cases cdot cdotp cdots centerdot checkmark circ circeq
    circlearrowleft circlearrowright circledast circledcirc circleddash circledR circledS clubsuit colon complement
    cong Cup cup curlyeqprec curlyeqsucc curlyvee curlywedge curvearrowleft curvearrowright dag dagger daleth
    dashleftarrow dashrightarrow dashv ddag ddagger ddots Delta diagdown diagup Diamond diamond diamondsuit digamma
    dint div divideontimes do Doteq doteq doteqdot dotplus dots doublebarwedge doublecap doublecup Downarrow
    downarrow downdownarrows downharpoonleft downharpoonright eixsts ell em emptyset eqcirc eqsim eqslantgtr
    eqslantless equiv eth fallingdotseq Finv flat forall frown Game Gamma ge geq geqq geqslant gets gg ggg gggtr
    gimel gnapprox gneq gneqq gnsim gt gtrapprox gtrdot gtreqless gtreqqless gtrless gtrsim gvertneqq hbar heartsuit
    hline hookleftarrow hookrightarrow hskip hslash Im in infty intd intercal intf Join Lambda land langle lbrace
    lbrack lceil ldotp ldots le leadsto Leftarrow leftarrow leftarrowtail leftharpoondown leftharpoonup
    leftleftarrows Leftrightarrow leftrightarrow leftrightarrows leftrightharpoons leftrightsquigarrow
    leftthreetimes leq leqq leqslant lessapprox lessdot lesseqgtr lesseqqgtr lessgtr lesssim lfloor lgroup lhd ll
    llcorner Lleftarrow lll llless lmoustache lnapprox lneq lneqq lnot lnsim Longleftarrow longleftarrow
    Longleftrightarrow longleftrightarrow longmapsto Longrightarrow longrightarrow looparrowleft looparrowright lor
    lozenge lrcorner Lsh lt ltimes lVert lvert lvertneqq mapsto mathbin measuredangle mho mid mit models mp multimap
    nabla natural nc ncong ne nearrow neg neq nexists ngeq ngeqq ngeqslant ngtr ni nLeftarrow nleftarrow
    nLeftrightarrow nleftrightarrow nleq nleqq nleqslant nless nmid nonumber not notin nparallel nprec npreceq
    nRightarrow nrightarrow nshortmid nshortparallel nsim nsubseteq nsubseteqq nsucc nsucceq nsupseteq nsupseteqq
    ntriangleleft ntrianglelefteq ntriangleright ntrianglerighteq nVDash nVdash nvDash nvdash nwarrow odot Omega
    ominus oplus oslash otimes overleftarrow overrightarrow owns parallel partial perp Phi Pi pii pitchfork pm prec
    precapprox preccurlyeq preceq precnapprox precneqq precnsim precsim prime propto Psi rangle rbrace rbrack rceil
    Re restriction rfloor rgroup rhd Rightarrow rightarrow rightarrowtail rightharpoondown rightharpoonup
    rightleftarrows rightleftharpoons rightrightarrows rightsquigarrow rightthreetimes risingdotseq rmoustache
    Rrightarrow Rsh rtimes rVert rvert sb searrow setminus sf sharp shortmid shortparallel Sigma sim simeq slash
    smallfrown smallsetminus smallskip smallsmile smile sp spadesuit sphericalangle sqcap sqcup sqsubset sqsubseteq
    sqsupset sqsupseteq square star Subset subset subseteq subseteqq subsetneq subsetneqq succ succapprox
    succcurlyeq succeq succnapprox succneqq succnsim succsim Supset supset supseteq supseteqq supsetneq supsetneqq
    surd swarrow textbf therefore Theta thickapprox thicksim thinspace times to top triangle triangledown
    triangleleft trianglelefteq triangleq triangleright trianglerighteq tt twoheadleftarrow twoheadrightarrow
    ulcorner underbrace unitlength unlhd unrhd Uparrow uparrow Updownarrow updownarrow upharpoonleft upharpoonright
    uplus Upsilon upuparrows urcorner varkappa varnothing varpropto varsubsetneq varsubsetneqq varsupsetneq
    varsupsetneqq vartriangle vartriangleleft vartriangleright Vdash vDash vdash vdots vee veebar Vert vert Vvdash
    wedge widehat widetilde wp wr Xi yen
"""
SYMBOLS = {
    "math": frozenset((
        *'!"()*+,-./0123456789:;<=>?@[]`|', *("\\" + mark for mark in "#$%&()LMS_abcdefghijklmno{|}"),
        *named(_SYMBOL_NAMES),
    )),
    "text": frozenset("0123456789`!@*()-=+[]'\";:?/.,abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"),
}  # fmt: skip
