"""Words that stand against each other: opposites, and the two ends of a relation (buyer and seller, row and column).

One row is one contrast: words left of the bar mean about the same here, so do those right of it. English words stand
for all their regular endings (`stem` cuts the table and the text alike); `_` joins the words of a phrase. Nothing here
is about a single data set: a text that says the one and a text that says the other ask for different things.
"""

SIDES = """
enable activate turn_on | disable deactivate turn_off
open | close shut
increase grow grew growth maximize maximise raise rise rose | decrease reduce reduction shrink lower drop fall fell
minimum min minimal smallest least lowest fewest | maximum max maximal largest biggest greatest highest most
before prior | after following
buy bought purchase | sell sold sale
start begin began beginning | stop stopped stopping end finish
install | uninstall remove
lock | unlock
add adding append insert | remove delete
upload | download
import | export
encrypt encryption | decrypt decryption
encode encoder | decode decoder
compress compression | decompress decompression extract
send sent | receive
push | pull
login log_in sign_in | logout log_out sign_out logoff
accept approve | reject decline refuse deny denied
allow permit permitted | forbid forbidden block prohibit ban banned
win won winning winner | lose lost loser
love | hate
male man men boy he his him husband father son brother | female woman women girl she her wife mother daughter sister
mother | father
first earliest | last latest
oldest older elder eldest | youngest younger
old | new
hot hottest hotter heat | cold coldest colder
join joined joining | leave left
soft softer | hard harder
asleep sleep | awake wake
thick thicken | thin
tighten | loosen
expand expanded | shrink contract
archive | unarchive
eligible | exempt
gain | lose
legal | illegal
married | single unmarried
big large huge | small tiny little
high higher | low lower
long longer longest | short shorter shortest
fast faster fastest | slow slower slowest
cheap cheaper cheapest | expensive
rich richest | poor poorest
good best better | bad worst worse
advantage pros benefit strength | disadvantage cons drawback weakness downside
positive | negative
true | false
success succeed successful | failure fail unsuccessful
inside indoor within | outside outdoor
above over | below under
more | less fewer
ascend ascending | descend descending
horizontal horizontally | vertical vertically
internal | external
input | output
public | private
read | write
client | server
parent | child children
local | remote
synchronous sync | asynchronous async
single | double
cause | effect
teacher | student
employer | employee
attack | defend
borrow | lend lent
deposit | withdraw withdrawal
credit | debit
profit | loss
income | expense
supply | demand
hire | fire
encourage | discourage
strengthen | weaken
speed_up accelerate | slow_down decelerate
arrive arrival | depart departure leave
different | similar same
source | destination target
even | odd
winter | summer
day daytime | night nighttime
morning | evening
yesterday | tomorrow
yesterday | today
today | tomorrow
left | right
top | bottom
turn_up up | turn_down down
north northern | south southern
east eastern | west western
upgrade | downgrade
mute | unmute
show | hide hidden
subscribe | unsubscribe cancel
online | offline
warm | cool
wet | dry
gain | lose lost
heavy heavier | light lighter
strong stronger | weak weaker
safe | dangerous unsafe
domestic | foreign international
predator | prey
singular | plural
numerator | denominator
acid acidic | base basic alkaline
multiply | divide
addition | subtraction
multiplication | division
inhale | exhale
serial sequential | parallel
static | dynamic
mutable | immutable
keep retain preserve | discard
all every everyone everybody | some someone somebody
tall taller tallest | short shorter shortest
wide wider widest | narrow narrower narrowest
deep deeper deepest | shallow shallower shallowest
dark darker darkest | light lighter lightest
front | back
forward | backward
cure relieve treat heal soothe | cause trigger worsen aggravate
arrest | release
ask question | answer
ancient | modern
natural | artificial
alive living | dead
awake | asleep
beautiful pretty | ugly
better improve | worse worsen
boy boys | girl girls
bright | dim
busy | idle
clean | dirty
complex complicated | simple
create | destroy
defend protect | attack
ebb | flow
empty | full
enter | exit
failure | success
fresh | stale frozen
front | rear
frozen freeze | thaw melt
guilty | innocent
happy | sad unhappy
hero | villain
include | exclude
landlord | tenant
latest | oldest
major | minor
majority | minority
maximum | minimum
mortal | immortal
optimist optimistic | pessimist pessimistic
passive | active
plus | minus
present | absent
pass passed passing | fail failed failing
quiet silent | loud noisy
raw | cooked
sweet | sour bitter
sharp | dull blunt
smooth | rough
straight | curved
sunrise | sunset
temporary | permanent
tight | loose
together | apart
urban | rural
vacant | occupied
victory | defeat
visible | invisible hidden
voluntary | compulsory mandatory
inflate inflation | deflate deflation
zoom_in | zoom_out
wholesale | retail
ceiling | floor
inbound | outbound
incoming | outgoing
junior | senior
novice beginner | expert
known | unknown
literal | figurative
lend | borrow
add adding | subtract
gain | loss
gross | net
manual manually | automatic automatically
oldest | newest
inner | outer
sender | recipient receiver
buyer | seller
lender | borrower
minor | adult
since | until till
int integer | float
list | tuple
interviewer | interviewee
customer | vendor supplier merchant
plaintiff claimant prosecution prosecutor | defendant accused
prosecution prosecutor | defense defence
debtor | creditor
donor | recipient
host | guest
attacker aggressor | victim defender
driver | passenger
bride | groom bridegroom
nephew | niece
uncle | aunt
widow | widower
king | queen
prince | princess
actor | actress
waiter | waitress
grandfather grandpa | grandmother grandma
grandson | granddaughter
boyfriend | girlfriend
bull | cow
rooster | hen
stallion | mare
maternal maternity | paternal paternity
ancestor | descendant
predecessor | successor
superclass | subclass
producer | consumer
publisher | subscriber
speaker | listener
speaker | microphone
writer author | reader
leader | follower
master | slave
primary | secondary replica
primary | foreign
first | next
boss supervisor | subordinate assistant
doctor | patient
lawyer attorney | client
tutor | pupil
supporter ally | opponent
support | oppose
resident | visitor
undergraduate | graduate postgraduate
amateur | professional
native | foreign
mentor | mentee
giver | taker
prefix | suffix
vowel | consonant
uppercase capital | lowercase
past | future
past | present
present | future
synonym | antonym
fiction | nonfiction
prose | poetry
protagonist | antagonist
prologue | epilogue
introduction | conclusion
inclusive | exclusive
ingress | egress
inflow | outflow
row | column
clockwise | counterclockwise anticlockwise
stack | queue heap
lifo | fifo
frontend | backend
compile | runtime
precision | recall
training | test testing
bullish | bearish
bull | bear
call_option | put_option
long_position | short_position
fixed | variable floating adjustable
stock equity | bond
asset | liability
principal | interest
revenue turnover | profit
microeconomics | macroeconomics
nominal | real
theoretical | actual practical
theory | practice
artery | vein
systolic | diastolic
acute | chronic
benign | malignant cancerous
viral | bacterial
intravenous | oral
oral | written
diploid | haploid
dominant | recessive
mitosis | meiosis
edible | poisonous toxic
herbivore | carnivore
stimulant | depressant
antibiotic | antihistamine antiviral
annual | perennial
nocturnal | diurnal
latitude | longitude
perimeter circumference | area
radius | diameter
sine sin | cosine cos
parallel | perpendicular
parallel | series
convex | concave
singular | invertible
union | intersection
relative | absolute
proton | electron
anode | cathode
fission | fusion
conductor | insulator
solvent | solute
condense | evaporate
ionic | covalent
stalactite | stalagmite
zenith | nadir
apogee | perigee
solar | lunar
waxing | waning
port | starboard
bow | stern
treble | bass
soprano | alto
simmer | boil
bake | fry
ripe | unripe
spicy | mild
hardware | software
commit | rollback roll_back
undo | redo
ram | rom
hdd | ssd
cpu | gpu
http | https
wired | wireless
analog analogue | digital
physical | virtual digital
lossless | lossy
explicit | implicit
stateful | stateless
pause | resume
backup back_up | restore
zip | unzip
upper | lower
portrait | landscape
foreground | background
bold | italic
root | leaf
head | tail
heads | tails
merge | split
grant | revoke
attach | detach
insert | eject
widen | narrow
broad | narrow
lengthen | shorten
stretch | shrink
contract contracted | relax relaxed
enter | leave
entrance entry | exit
take_off | land
checkin check_in | checkout check_out
into | out_of
home | away
innocence | guilt
masculine | feminine
score | concede
compliment | insult
rent | buy purchase
refund | exchange
sunny | shady
admit | deny
accept | refuse
birth born | death died die
remember | forget
save | spend
float | sink
attract | repel
praise | criticize criticise
promote | demote
reward | punish punishment
marry marriage wedding | divorce
initial | final
previous | next
earlier | later
early | late
dawn | dusk
upstairs | downstairs
interior | exterior
near nearest nearer | far farthest furthest
offside | onside
liberal | conservative
civil | criminal
peace | war
deductible | premium
surplus excess | deficit shortage deficiency
prepaid | postpaid
paid | free
wealth | poverty
debt | savings
checking | savings
diesel | gasoline petrol
electric | gas gasoline
indoor | outdoor
comedy | tragedy
easy easier easiest | difficult harder hardest
healthy | sick unhealthy
harmful | harmless beneficial
intentional deliberate | accidental
objective | subjective
qualitative | quantitative
deductive | inductive
flexible | rigid
solid | hollow
opaque | transparent
dense | sparse
curly | straight
fat | slim skinny
honest | dishonest
generous | stingy greedy
lazy | diligent hardworking
polite | rude
brave | cowardly
strict | lenient
original genuine authentic | fake counterfeit
famous | obscure
sunny | cloudy rainy
drought | flood
weekday | weekend
optional voluntary | mandatory compulsory required obligatory
must have_to has_to | may optional
average | top maximum peak
many | few
often frequently usually | rarely seldom hardly
nearly almost barely | exactly
both | either neither
any | all every both
while during | after
while | once
protect prevent | cause
arguments_for argument_for | arguments_against argument_against
case_for evidence_for reasons_for | case_against evidence_against reasons_against
vote_for voted_for | vote_against voted_against
sum | difference
quotient | remainder product
drunk | sober
introvert | extrovert
immigrant immigration immigrate | emigrant emigration emigrate
inpatient | outpatient
plant sow | harvest
head_coach | assistant_coach
guardian | ward
"""

# Chinese has no spaces: a word counts wherever it stands, the longest first, but not inside these.
HAN_SIDES = """
打开 开启 启用 激活 | 关闭 关掉 禁用 停用
增加 提高 提升 上升 上涨 | 减少 降低 下降 下跌
最大 最高 最多 最贵 | 最小 最低 最少 最便宜
之前 以前 | 之后 以后
购买 买入 买 | 出售 卖出 卖
男 | 女
左 | 右
进口 | 出口
免费 不要钱 | 收费 付费
以上 大于 高于 超过 | 以下 小于 低于 少于
上午 早上 | 下午 晚上
国内 | 国外
优点 优势 好处 | 缺点 劣势 坏处
安装 | 卸载
登录 登陆 | 登出 退出
升级 | 降级
添加 新增 | 删除 移除
允许 | 禁止
支持 赞成 | 反对
白天 | 夜里 夜晚 晚上
昨天 | 今天
今天 | 明天
昨天 | 明天
公开 | 私有 私密
上传 | 下载
开始 | 结束
东 | 西
南 | 北
输入 | 输出
存款 存钱 | 取款 取钱
加密 | 解密
借给 | 借自
出发 | 到达
成功 | 失败
同意 | 拒绝
便宜 | 贵
冷 | 热
内部 | 外部
父亲 爸爸 | 母亲 妈妈
哥哥 | 弟弟
姐姐 | 妹妹
第一个 最早 | 最后一个 最晚
原因 | 结果
加入 | 退出
好处 | 坏处
已婚 | 未婚
借款人 | 贷款人 出借人
原告 | 被告
甲方 | 乙方
债权人 | 债务人
买家 买方 | 卖家 卖方
收件人 收件 | 寄件人 发件人 寄件
雇主 老板 | 员工 雇员
房东 出租 | 租客 承租 求租
老师 | 学生
医生 | 病人 患者
丈夫 老公 | 妻子 老婆
儿子 | 女儿
岳父 | 岳母
公公 | 婆婆
外公 姥爷 | 外婆 姥姥
爷爷 | 奶奶
叔叔 | 阿姨
新郎 | 新娘
国王 | 王后 女王
男朋友 | 女朋友
男生 男孩 | 女生 女孩
主人 | 客人
攻击 进攻 | 防守 防御
升序 正序 | 降序 倒序
横向 水平 | 纵向 垂直
客户端 | 服务端 服务器
父节点 父类 父进程 | 子节点 子类 子进程
顺时针 | 逆时针
交流电 | 直流电
正极 | 负极
阳性 | 阴性
经度 | 纬度
阳历 公历 | 阴历 农历
公元前 | 公元后
上半年 | 下半年
上周 上星期 | 下周 下星期
上个月 | 下个月
去年 | 今年
今年 | 明年
去年 | 明年
前天 | 后天
今晚 | 明晚
饭前 餐前 | 饭后 餐后
睡前 | 睡后 醒后
节前 | 节后
婚前 | 婚后
产前 | 产后
课前 | 课后
上班 | 下班
上车 | 下车
上飞机 登机 | 下飞机
上山 | 下山
楼上 | 楼下
山上 | 山下
室内 | 室外
车里 车内 | 车外
前面 | 后面
里面 | 外面
进来 | 出去
上来 | 下去
过来 | 过去
工作日 | 休息日 周末 节假日
大于 | 小于
多于 | 少于
早于 | 晚于
至少 最少 | 至多 最多
以内 之内 | 以外 之外
以内 | 以后
所有 全部 任何 每个 | 部分 有些 某些 一些
大部分 多数 | 小部分 少数
经常 总是 常常 | 偶尔 很少
必须 一定要 | 可以 不必
必须 | 应该
只有 | 只要
如果 要是 | 即使 除非
因为 | 虽然
权利 | 权力
静态 | 动态
同步 | 异步
串行 | 并行
公网 | 内网
收入 | 支出
利润 盈利 | 亏损
资产 | 负债
股票 | 债券
涨价 上涨 | 降价 下跌
升高 | 降低
变大 放大 | 变小 缩小
变长 | 变短
变胖 增肥 | 变瘦 减肥
加速 | 减速
加热 | 冷却
充电 | 放电
吸气 | 呼气
凸 | 凹
动脉 | 静脉
急性 | 慢性
良性 | 恶性
细菌 | 病毒
酸性 | 碱性
质子 | 电子
阳极 | 阴极
吸热 | 放热
有害 | 有益 无害
有毒 | 无毒
胜利 赢 | 失败 输
录取 | 淘汰
入学 | 毕业
入境 | 出境
入职 | 离职 辞职
结婚 | 离婚
出生 | 死亡 去世
加班 | 请假
迟到 | 早退
发送 | 接收
编码 | 解码
压缩 | 解压
展开 | 折叠
置顶 | 置底
显示 | 隐藏
锁定 | 解锁
绑定 | 解绑
关注 | 取关 拉黑
订阅 | 退订
静音 | 取消静音
全屏 | 窗口
在线 | 离线
有线 | 无线
自动 | 手动
硬件 | 软件
前端 | 后端
编译 | 运行
单数 | 复数
奇数 | 偶数
实数 | 虚数
最新 | 最旧 最早
深 | 浅
宽 | 窄
厚 | 薄
软 | 硬
甜 | 咸 苦
早上 早晨 上午 | 晚上 夜里
中午 | 半夜 午夜
日出 | 日落
涨潮 | 退潮
主动 | 被动
直接 | 间接
永久 | 临时
公立 | 私立
国产 | 进口
批发 | 零售
理论 | 实际 实践
主观 | 客观
定性 | 定量
乐观 | 悲观
内向 | 外向
应该 应当 | 可以
行数 | 列数
最长 | 最短
最新 新款 | 最旧 旧款
"""
HAN_NEUTRAL = (
    "东西|买卖|左右|冷热|前后|上下|大小|男女|进出口|关系|热门|热情|东方明珠|北京|南京|东京|西安|河北|河南|湖南|湖北|山东|"
    "山西|广东|广西|海南|云南|江西|陕西|西湖|西餐|西瓜|西藏|台湾|女士|南瓜|过去式|输入法|输出端|输家|运输|赢利|老师傅|"
    "主人公|硬币|硬盘|软件|硬件|深圳|浅谈|厚道|薄荷|薄弱|宽带|宽松"
)
