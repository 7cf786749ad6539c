"""Words that end a phrase, words too weak to stand at its edge, and headings over text that says nothing of its topic.

English. A word of another language is simply none of these, and its commonness in the corpus has to speak instead.
"""

from __future__ import annotations

STOP_WORDS = frozenset(
    # articles, pronouns, prepositions, conjunctions
    """a an the this that these those it its itself he him his she her hers they them their theirs themselves we us our
    ours ourselves you your yours yourself i me my mine myself who whom whose which what whatever whichever whoever one
    ones someone something somebody somewhere anyone anything anybody anywhere everyone everything everybody everywhere
    nobody nothing none nowhere other others another each every either neither both all any some few many much more most
    less least several such same own about above across after against along alongside among amongst around as at atop
    before behind below beneath beside besides between beyond but by concerning despite down during except for from in
    inside into like near of off on onto out outside over past per regarding since through throughout till to toward
    towards under underneath unlike until up upon versus via vs with within without and or nor so yet if because although
    though unless whereas whether while when whenever where wherever why how however than then therefore thus hence
    """
    # auxiliaries and the commonest verbs in all their forms
    """am is are was were be been being do does did done doing don have has had having can could may might must shall
    should will would cannot ain let lets get gets got getting gotten go goes going gone went come comes came coming make
    makes made making take takes took taken taking give gives gave given giving put puts putting keep keeps kept keeping
    seem seems seemed become becomes became becoming use uses used using want wants wanted wanting need needs needed
    needing try tries tried trying say says said saying see sees saw seen seeing look looks looked looking know knows knew
    known knowing think thinks thought thinking find finds found finding tell show shows showed shown showing mean means
    meant work works worked working add adds added adding allow allows allowed allowing provide provides provided
    providing require requires required requiring include includes included including contain contains contained
    containing return returns returned returning call calls called calling happen happens happened happening exist
    exists existed existing support supports supported supporting create creates created creating define defines defined
    defining propose proposes proposed proposing follow follows followed following remain remains remained change changes
    changed changing help helps helped helping start starts started starting stop stops stopped begin begins cause causes
    caused causing lead leads led apply applies applied applying consider considers considered considering describe
    describes described describing specify specifies specified specifying expect expects expected expecting suggest
    suggests suggested suggesting avoid avoids avoided avoiding ensure ensures ensured ensuring indicate indicates
    indicated indicating represent represents represented representing treat treats treated treating choose chooses chose
    chosen perform performs performed performing pass passes passed passing hold holds held holding write writes wrote
    written writing read reads set sets setting run runs ran running handle handles handled handling raise raises raised
    raising accept accepts accepted accepting refer refers referred referring replace replaces replaced replacing remove
    removes removed removing introduce introduces introduced introducing implement implements implemented implementing
    believe believes believed agree agreed decide decided decides feel feels felt intend intended intends discuss
    discussed discusses explain explained explains mention mentioned mentions note notes noted occur occurs occurred
    appear appears appeared belong belongs depend depends depended enable enables enabled enabling prevent prevents
    prevented preventing reject rejected rejects assume assumes assumed assuming determine determines determined
    determining compute computes computed contribute contributed affect affects affected leave leaves left leaving move
    moves moved moving serve serves served turn turns turned turning update updates updated updating get's satisfy
    satisfies satisfied correspond corresponds associated related based according depending regardless given
    """
    # adverbs, quantities, fillers, discourse
    """not no never ever always often sometimes usually generally typically commonly normally rarely seldom mostly mainly
    largely partly partially fully entirely completely totally simply merely only just even also too very quite rather
    really actually basically essentially certainly clearly obviously probably possibly perhaps maybe likely unlikely
    almost nearly about approximately already still again once twice now later earlier sooner soon today currently
    recently previously originally initially finally eventually instead otherwise else elsewhere anyway moreover
    furthermore additionally meanwhile nevertheless nonetheless similarly likewise accordingly consequently
    respectively especially particularly specifically namely directly indirectly explicitly implicitly automatically
    easily quickly slowly correctly properly exactly precisely roughly well better best worse worst good bad nice great
    able unable possible impossible necessary sufficient enough due next last final previous
    former latter further extra additional certain particular specific various different similar new old current
    existing recent early late long short big small large little high low full whole entire single double two three four
    five six seven eight nine ten hundred thousand million zero half lot lots bit kind kinds sort sorts way ways thing
    things case cases fact point points reason reasons example examples instance e.g i.e etc cf eg ie ok okay yes
    please thanks here there hereby thereby therein thereof above below aforementioned itself say regard
    regards respect sake vice versa et al ie. e.g. today's don't doesn't can't won't isn't aren't wasn't weren't
    important useful common simple easy hard difficult obvious clear general actual real usual main major minor
    appropriate relevant available complete correct incorrect right wrong true false yourself
    """
    # what documents say about themselves
    """section sections chapter paragraph document documents page pages figure table author authors version versions
    draft proposal proposals rationale motivation appendix footnote footnotes reference references copyright abstract
    introduction summary overview discussion discussions conclusion background
    number numbers part parts rest end def foo bar baz spam eggs egg ham line lines item items list-item item's following respective
    return_value optional default defaults param params parameter parameters arg args argument arguments kwarg kwargs
    """
    # dates
    """january february march april may june july august september october november december jan feb mar apr jun jul aug
    sep sept oct nov dec monday tuesday wednesday thursday friday saturday sunday mon tue wed thu fri sat sun day days
    week weeks month months year years hour hours minute minutes second seconds utc gmt am pm
    """.split()
)
"""A phrase never holds one of these."""

EDGE_WORDS = frozenset(
    """ability addition advantage amount approach attempt behavior behaviour benefit body change choice code
    combination concept condition consequence content context couple decision detail details difference effect effort
    element evidence feature features form format future goal group idea implementation information intent issue issues
    level limit logic manner method mechanism need notion object objects operation option options order original
    pattern people place possibility possible potential practice problem problems process purpose question questions
    result results role rule rules scope semantics set side situation solution space standard state status step steps
    string strings structure style subject suggestion system task term terms text time times topic total
    type types usage use user users value values variety view word words
    alternative alternatives arbitrary consistent desired equivalent explicit implicit individual initial internal
    external local multiple non-trivial normal original own particular possible proper reasonable relative separate
    significant special strong subsequent suitable top typical unique unlikely valid invalid
    corresponding resulting remaining underlying
    first second third fourth candidate candidates collection continue convention enhancement hello leader obj precise
    preferred procedure recording self stable dynamic private range model block character
    portion resolution variant model models self cls lib stuff identification independent
    convert converts override wrap load fail fails close present register emit submit fetch draw merge insert delete
    append construct constructing iterate assign invoke execute initialize extract retrieve restore recognize succeed
    ignore ignored print generate generated maximum minimum empty max min length size key base mode input output error data
    list file function class module int str dict float bool count map access custom instances target info flag walk
    jump weak safe break src func wrt ending submit exclude constraint customization customisation forward backward
    settings limitation accessible display guide prefix negative positive series phase member team removal
    check checks checked checking compare compared copy find fix fixed include keep match name names named open
    opened build built pick place placed produce produced producing reach reached receive received reflect resolve
    resolved result save saved search select selected send share shared skip sort store stored test tested try wait
    """.split()
)
"""Too weak to be a concept alone; welcome inside a longer phrase."""

APPARATUS = frozenset(
    """abstract-of-changes acknowledgement acknowledgements acknowledgment acknowledgments author authors bibliography
    change-history change-log changelog changes-from-previous-versions citations contact contributors copying copyright
    copyright-notice credits discussions-to document-history footnotes further-reading history-of-changes license
    licence links notes-and-references post-history references references-and-footnotes resources revision-history
    revisions see-also sponsors table-of-contents thanks version-history contents candidates voter-roll
    complete-voter-roll active-python-core-developers election-results
    attributes examples example methods other-parameters parameters raises receives returns warns yields
    """.split()
)
"""Headings (words joined by hyphens) over text about the document or its form rather than its topic."""

LISTS = frozenset(
    """args arguments attributes example examples keyword-args keyword-arguments keywords methods parameters params raises
    returns return see-also yields yield other-parameters receives
    """.split()
)
"""Lines ending in a colon over an indented list about form (``Args:``); the list says little of the topic."""

REMARKS = frozenset(
    "attention caution danger hint important note notes references tip todo usage warning warnings".split()
)
"""Lines ending in a colon that are headings all the same; what follows them is prose."""
